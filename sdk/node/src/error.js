/** What every call of this package that fails rejects with. */
export class KvaultError extends Error {
  /**
   * @param {string} code a name from kvault's table of errors: "not_found", "corrupt", ...
   * @param {string} message one sentence with the offending numbers
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = 'KvaultError';
    this.code = code;
  }
}

/** @param {string} message */
export const invalid = (message) => new KvaultError('invalid_argument', message);

/** @param {AbortSignal} signal */
export const cancelled = (signal) =>
  new KvaultError('cancelled', 'cancelled by the caller', { cause: signal.reason });
