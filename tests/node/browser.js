// A headless Chromium, driven through a pipe (the DevTools protocol, one JSON text and a NUL each).
import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The path of a Chromium, or null. */
export function findBrowser() {
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8' }).trim();
    } catch { /* the next one */ }
  }
  return null;
}

export class Browser {
  #process;
  #profile;
  #waiting = new Map();
  #n = 0;
  #text = '';
  #session;

  static async start(program, url) {
    const browser = new Browser();
    browser.#profile = await mkdtemp(join(tmpdir(), 'kvault-browser-'));
    browser.#process = spawn(program, ['--headless', '--no-sandbox', '--disable-gpu',
      '--disable-dev-shm-usage', '--no-first-run', '--remote-debugging-pipe',
      `--user-data-dir=${browser.#profile}`, 'about:blank'],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    browser.#process.stdio[4].setEncoding('utf8').on('data', (text) => browser.#read(text));
    const { targetInfos } = await browser.#call('Target.getTargets');
    const { targetId } = targetInfos.find(({ type }) => type === 'page');
    browser.#session = (await browser.#call('Target.attachToTarget', { targetId, flatten: true }))
      .sessionId;
    await browser.go(url);
    return browser;
  }

  async go(url) {
    await this.#call('Page.navigate', { url });
    await this.until("document.readyState === 'complete' && !document.body.dataset.busy");
  }

  /** The value of an expression in the page. */
  async value(expression) {
    const { result, exceptionDetails } = await this.#call('Runtime.evaluate',
      { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? expression);
    return result.value;
  }

  async until(expression, limit_ms = 20_000) {
    const end = Date.now() + limit_ms;
    while (!await this.value(`Boolean(${expression})`)) {
      if (Date.now() > end) throw new Error(`never: ${expression}`);
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
  }

  async close() {
    const ended = new Promise((resolve) => { this.#process.once('exit', resolve); });
    this.#call('Browser.close').catch(() => {});
    await ended;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #call(method, params = {}) {
    const id = ++this.#n;
    const request = { id, method, params, sessionId: this.#session };
    this.#process.stdio[3].write(`${JSON.stringify(request)}\0`);
    return new Promise((resolve, reject) => { this.#waiting.set(id, { resolve, reject }); });
  }

  #read(text) {
    const parts = (this.#text + text).split('\0');
    this.#text = parts.pop();
    for (const part of parts) {
      const { id, result, error } = JSON.parse(part);
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) call?.reject(new Error(error.message));
      else call?.resolve(result);
    }
  }
}
