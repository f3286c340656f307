import { cancelled } from './error.js';

const nothing = () => {};

/** Calls one after the other: an object of the C library is used by one thread at a time. */
export class Turns {
  #last = Promise.resolve();

  /**
   * Runs `work` when all earlier work is done. What is aborted before its turn is not begun.
   * @param {() => Promise<unknown>} work
   * @param {AbortSignal} [signal]
   * @param {boolean} [abandon] rejects at once when aborted during the work, which goes on unseen
   */
  take(work, signal, abandon = false) {
    return new Promise((resolve, reject) => {
      let begun = false;
      const onAbort = () => {
        if (!begun || abandon) reject(cancelled(signal));
      };
      if (signal?.aborted) return onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
      const turn = this.#last.then(() => {
        if (signal?.aborted) throw cancelled(signal);
        begun = true;
        return work();
      });
      this.#last = turn.then(nothing, nothing);
      turn.then(resolve, reject).finally(() => signal?.removeEventListener('abort', onAbort));
    });
  }
}
