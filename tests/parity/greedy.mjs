// Greedy continuations by llama.cpp (node-llama-cpp), for test_llama_cpp.py.
// Usage: node greedy.mjs MODULES GGUF REQUESTS; writes a JSON list to standard output.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, model_path, requests_path] = process.argv.slice(2);
const entry = path.join(modules, "node_modules", "node-llama-cpp", "dist", "index.js");
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: model_path });
const found = [];
for (const { text, tokens, new_tokens } of JSON.parse(fs.readFileSync(requests_path, "utf8"))) {
  const context = await model.createContext({
    contextSize: 512, threads: 1, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
  });
  const reply = [];
  for await (const token of context.getSequence().evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    reply.push(token);
    if (model.isEogToken(token) || reply.length === new_tokens) break;
  }
  found.push({ tokens: Array.from(model.tokenize(text, true)), reply });
  await context.dispose();
}
process.stdout.write(JSON.stringify({ template: model.fileInfo.metadata.tokenizer.chat_template, found }));
process.exit(0);
