export { Client, connect } from './client.js';
export { LlamaChat } from './chat.js';
export { LlamaModel } from './model.js';
export { KvaultError } from './error.js';
export { resumeSequence, saveSequence } from './sequence.js';
