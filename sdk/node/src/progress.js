import { cancelled } from './error.js';

/** Between a progress callback of C and a caller with a listener and a signal. */
export class ProgressGate {
  #signal;
  #listener;
  #failed = null;

  /** @param {{signal?: AbortSignal, onProgress?: Function}} [caller] */
  constructor({ signal, onProgress } = {}) {
    this.#signal = signal;
    this.#listener = onProgress;
  }

  /** For C: 1 to go on, 0 to cancel. A listener that throws cancels. */
  step = (done, total) => {
    try {
      if (this.#signal?.aborted) return 0;
      this.#listener?.({ doneBytes: Number(done), totalBytes: Number(total) });
      return this.#signal?.aborted ? 0 : 1;
    } catch (error) {
      this.#failed = { error };
      return 0;
    }
  };

  /** Waits for the call, and says in the caller's words why it was cancelled. */
  async watch(call) {
    try {
      return await call;
    } catch (error) {
      if (error.code !== 'cancelled') throw error;
      if (this.#failed) throw this.#failed.error;
      throw this.#signal?.aborted ? cancelled(this.#signal) : error;
    }
  }
}
