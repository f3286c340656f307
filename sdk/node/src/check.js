// Arguments are checked before they reach C, which would cut a string at its first NUL and a number
// at its 32nd bit. Each check gives back the value, or throws invalid_argument.
import { invalid } from './error.js';

const shown = (value) => {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
};

/** An options object with none but the known keys; what is left out is {}. */
export function options(value, what, known) {
  if (value === undefined) return {};
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw invalid(`${what} is to be an object, not ${shown(value)}`);
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      throw invalid(`${what} has no option ${shown(key)}; known: ${known.join(', ')}`);
    }
  }
  return value;
}

export function text(value, what) {
  if (typeof value !== 'string' || value === '') {
    throw invalid(`${what} is to be a string that is not empty, not ${shown(value)}`);
  }
  if (value.includes('\0')) throw invalid(`${what} holds a NUL character`);
  if (!value.isWellFormed()) throw invalid(`${what} is not well-formed Unicode`);
  return value;
}

export function flag(value, what) {
  if (typeof value !== 'boolean') throw invalid(`${what} is to be a boolean, not ${shown(value)}`);
  return value;
}

export function integer(value, what, min, max) {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw invalid(`${what} is to be an integer from ${min} to ${max}, not ${shown(value)}`);
  }
  return value;
}

export function real(value, what) {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw invalid(`${what} is to be a finite number, not ${shown(value)}`);
  }
  return value;
}

export function fn(value, what) {
  if (typeof value !== 'function') throw invalid(`${what} is to be a function`);
  return value;
}

export function signal(value) {
  if (!(value instanceof AbortSignal)) throw invalid('signal is to be an AbortSignal');
  return value;
}

/** Bytes that C may read in place: of memory that no other thread can take away. */
export function bytes(value, what) {
  if (!(value instanceof Uint8Array) || !(value.buffer instanceof ArrayBuffer)) {
    throw invalid(`${what} is to be a Uint8Array that is not shared`);
  }
  return value;
}

const kTokenMax = 2 ** 31 - 1;

/** Token ids, as an array or typed array of integers. */
export function tokens(value, what) {
  if (!Array.isArray(value) && !(value instanceof Int32Array) && !(value instanceof Uint32Array)) {
    throw invalid(`${what} is to be an array of token ids`);
  }
  const result = new Int32Array(value.length);
  for (let i = 0; i < value.length; ++i) {
    result[i] = integer(value[i], `${what}[${i}]`, 0, kTokenMax);
  }
  return result;
}

/** The value through `check`, or `otherwise` where it is left out. */
export const optional = (value, otherwise, check, ...more) =>
  value === undefined ? otherwise : check(value, ...more);
