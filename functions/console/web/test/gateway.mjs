// The gateway that make run starts, for one file of tests: in a directory of its own, on a
// free port, with the console that is embedded in dist/bootstrap. It can be killed and
// started again on the same port with the same data.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, rmSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const repository = fileURLToPath(new URL("../../../..", import.meta.url));

/** The program that serves; one that starts the same and prints the same line may stand in for it. */
const program = process.env.KEYREEVE_LOCAL ?? join(repository, "dist/local");

// In memory where that is to be had: on a disk, DynamoDB Local takes ten times as long to write.
const scratch = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

// One root key makes everything that the tests need, so it may do so faster than any
// customer. Everything else is the default configuration.
const settings = {
  plans: {
    free: { rateLimit: 20, keys: 100 },
    pro: { rateLimit: 100, keys: 1000 },
    enterprise: { rateLimit: 100_000, keys: 10_000 },
  },
};

// A run that is ended from outside leaves nothing either: no process, and no megabytes of memory.
const running = new Set(), directories = new Set();
process.on("exit", () => {
  running.forEach((child) => child.kill("SIGKILL"));
  directories.forEach((dir) => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

export class Gateway {
  #child;
  #dir;
  #secrets;

  /** @returns once a request with the root key has been answered. */
  static async start(secrets) {
    const g = new Gateway();
    g.#secrets = secrets;
    g.#dir = await mkdtemp(join(scratch, "keyreeve-console-"));
    directories.add(g.#dir);
    await writeFile(join(g.#dir, "settings.json"), JSON.stringify(settings));
    await g.#run(0);
    g.root = secrets.add((await readFile(join(g.#dir, "root-key"), "utf8")).trim());
    return g;
  }

  async #run(port) {
    const errors = openSync(join(this.#dir, "errors"), "a");
    const child = spawn(program, ["-port", String(port), "-dir", this.#dir, "-config", join(this.#dir, "settings.json")],
      { cwd: repository, stdio: ["ignore", "pipe", errors] });
    closeSync(errors);
    running.add(child);
    child.once("exit", () => running.delete(child));
    this.#child = child;
    const late = setTimeout(() => child.kill("SIGKILL"), 90_000);
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith("ready ")) continue; // the root key is in one of these: they are shown to nobody
      clearTimeout(late);
      child.stdout.resume();
      Object.assign(this, JSON.parse(line.slice("ready ".length)));
      return;
    }
    throw new Error("the gateway ended before it was ready:\n" + this.#secrets.redact(await readFile(join(this.#dir, "errors"), "utf8")));
  }

  /** As if the machine had died: nothing is answered any more, every connection is cut. */
  async kill() {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  /** After kill: the same address, the same data. */
  async restart() {
    await this.#run(this.port);
  }

  /** Ends it, and looks for secrets in what it has written. */
  async stop() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGTERM");
      const late = setTimeout(() => this.#child.kill("SIGKILL"), 20_000);
      await ended;
      clearTimeout(late);
    }
    try {
      for (const file of ["errors", "access.log", "metrics.log"]) {
        const text = await readFile(join(this.#dir, file), "utf8").catch((e) => {
          if (e.code === "ENOENT") return "";
          throw e;
        });
        assert.ok(!this.#secrets.in(text), `${file} holds a piece of a secret`);
      }
    } finally {
      await rm(this.#dir, { recursive: true, force: true });
    }
  }

  /** Calls the API as a customer's program would; answers {status, headers, body}. */
  async call(method, path, { body, key = this.root, headers = {} } = {}) {
    const json = body === undefined ? {} : { "Content-Type": "application/json" };
    const response = await fetch(this.url + path, {
      method, headers: { ...(key && { "X-API-Key": key }), ...json, ...headers }, body: body && JSON.stringify(body), redirect: "manual",
    });
    const text = await response.text();
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      answer = text;
    }
    if (answer?.data?.apiKey) this.#secrets.add(answer.data.apiKey);
    return { status: response.status, headers: response.headers, body: answer };
  }

  /** call, for what must succeed: answers its data. */
  async must(method, path, options) {
    for (let turn = 0; ; turn++) {
      const { status, body } = await this.call(method, path, options);
      if (status < 300) return body.data;
      // DynamoDB Local on a busy machine may be slower than a function waits for it.
      if (status < 500 || turn === 4) throw new Error(`${method} ${path}: ${status} ${body?.error?.code}: ${body?.error?.message}`);
    }
  }

  /** The status that curl gets with a key, which no list of processes shows. */
  curl(path, key) {
    return new Promise((resolve, reject) => {
      const child = execFile("curl", ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "@-", this.url + path],
        (error, stdout) => (error ? reject(new Error("curl failed with exit code " + error.code)) : resolve(Number(stdout))));
      child.stdin.end("X-API-Key: " + key + "\n");
    });
  }
}
