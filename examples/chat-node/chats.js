// The app behind the page: one model, one sequence, and the saved chats that take turns in it.
import { resumeSequence, saveSequence } from 'kvault';

const kAnswer = 48; // tokens

export class NotNow extends Error {} // what the user can do something about

export class Chats {
  #client;
  #model; // of kvault
  #weights; // of node-llama-cpp
  #sequence;
  #chat = null;

  /** @param parts {client, model, weights, sequence} */
  constructor({ client, model, weights, sequence }) {
    this.#client = client;
    this.#model = model;
    this.#weights = weights;
    this.#sequence = sequence;
  }

  async list() {
    const sessions = await this.#client.list();
    return sessions.map(({ name, nToken, storedSizeBytes, lastUsed }) => (
      { name, nToken, storedSizeBytes, lastUsed, isOpen: name === this.#chat?.name }));
  }

  /** Begins a chat, or goes on with a saved one: its text, and what of it was not read again. */
  async open(name) {
    const begin = performance.now();
    await this.#chat?.close();
    this.#chat = null;
    const chat = await this.#client.openChat({ model: this.#model, name, create: true });
    try {
      const tokens = await chat.tokens();
      const info = tokens.length === 0 ? { nTokenReused: 0, storedBytes: 0 }
        : await resumeSequence(chat, this.#sequence);
      if (tokens.length === 0) await this.#sequence.clearHistory();
      this.#chat = chat;
      return {
        name,
        text: this.#weights.detokenize([...tokens]),
        nToken: tokens.length,
        nTokenReused: info.nTokenReused,
        storedBytes: info.storedBytes,
        ms: performance.now() - begin,
      };
    } catch (error) {
      await chat.close();
      throw error;
    }
  }

  /** Answers, and saves the turn. */
  async say(text) {
    if (this.#chat === null) throw new NotNow('no chat is open');
    const sequence = this.#sequence;
    const isFirst = sequence.contextTokens.length === 0;
    const prompt = this.#weights.tokenize(isFirst ? text : ` ${text}`);
    if (isFirst && this.#weights.tokens.bos !== null) prompt.unshift(this.#weights.tokens.bos);
    const end = sequence.contextTokens.length + prompt.length + kAnswer;
    if (end >= sequence.contextSize) {
      throw new NotNow(`the context is full: ${end} of ${sequence.contextSize} tokens`);
    }
    const begin = performance.now();
    const all = [...sequence.contextTokens, ...prompt];
    const answer = [];
    for await (const token of sequence.evaluate(prompt, { temperature: 0 })) {
      answer.push(token);
      if (answer.length === kAnswer) break;
    }
    // The last token has been chosen, but not read.
    const unread = [...all, ...answer].slice(sequence.contextTokens.length);
    if (unread.length > 0) await sequence.evaluateWithoutGeneratingNewTokens(unread);
    const answer_ms = performance.now() - begin;
    const saved = await saveSequence(this.#chat, sequence);
    return {
      answer: this.#weights.detokenize(answer, false, all),
      name: this.#chat.name,
      nToken: saved.nToken,
      nTokenKept: saved.nTokenKept,
      writtenBytes: saved.writtenBytes,
      answerMs: answer_ms,
      saveMs: saved.saveMs,
    };
  }

  /** A second chat that begins with all of a saved one. */
  async fork(name, newName) {
    return this.#client.fork(name, null, newName);
  }

  async close() {
    await this.#client.close();
  }
}
