// Hosts the agent module on node: lends it a TCP socket, a clock and random numbers, and nothing else.
//
//   node run.mjs <module.wasm> http://<host>:<port> <endpoint>
//
// Prints `connected <endpoint>` when the tunnel is up. One tunnel, no second dial: exits with status 1 when the
// tunnel ends or does not come up within 10 s.

import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { performance } from "node:perf_hooks";
import { webcrypto } from "node:crypto";

// The module's limit for one buffer; larger chunks are handed over in pieces.
const PIECE_BYTES = 1 << 20;
const UPGRADE_WAIT_MS = 10_000;
// Above this, timers of node fire at once.
const TIMER_MAX_MS = 2 ** 31 - 1;

const [file, url, endpoint] = process.argv.slice(2);
if (!endpoint) {
  console.error("usage: node run.mjs <module.wasm> http://<host>:<port> <endpoint>");
  process.exit(2);
}
const { hostname, port, host } = new URL(url);
const { instance } = await WebAssembly.instantiate(await readFile(file), {});
const agent = instance.exports;
const now = () => performance.now();

// Memory moves when it grows, so a view is made for each use.
function put(bytes) {
  const at = agent.alloc(bytes.length);
  new Uint8Array(agent.memory.buffer, at, bytes.length).set(bytes);
}

const names = [host, endpoint].map((name) => new TextEncoder().encode(name));
const key = webcrypto.getRandomValues(new Uint8Array(16));
put(Buffer.concat([key, ...names]));
if (agent.init(now(), names[0].length, names[1].length) !== 0) {
  console.error("no such endpoint can be");
  process.exit(2);
}

const socket = connect({ host: hostname, port: Number(port || 80), noDelay: true });
let timer;
let connected = false;
let writable = false;
let ended = false;
const late = setTimeout(() => finish("the upgrade takes too long"), UPGRADE_WAIT_MS);

// After whatever happened: what is to be sent, what has changed, and when to look again.
function settle() {
  if (ended) return;
  // Output is pulled only while the socket takes it, so a slow server slows the services down.
  while (writable) {
    const [mask] = webcrypto.getRandomValues(new Uint32Array(1));
    const length = agent.poll_transmit(now(), mask);
    if (length === 0) break;
    // A copy: the memory behind it is used again by the next call.
    writable = socket.write(new Uint8Array(agent.memory.buffer, agent.transmit(), length).slice());
  }
  if (!connected && agent.state() === 1) {
    connected = true;
    clearTimeout(late);
    console.log(`connected ${endpoint}`);
  }
  if (agent.state() === 2) return finish("the tunnel has ended");
  if (agent.wants_input()) socket.resume();
  else socket.pause();
  clearTimeout(timer);
  const wait = agent.poll_timeout() - now();
  if (wait !== Infinity) {
    timer = setTimeout(() => {
      agent.handle_timeout(now());
      settle();
    }, Math.min(Math.max(Math.ceil(wait), 1), TIMER_MAX_MS));
  }
}

function finish(why) {
  if (ended) return;
  ended = true;
  clearTimeout(late);
  clearTimeout(timer);
  console.error(`lost ${endpoint}: ${why}`);
  process.exitCode = 1;
  // Flushes what was written, such as the echo of a close.
  socket.destroySoon();
}

socket.on("connect", () => {
  writable = true;
  settle();
});
socket.on("drain", () => {
  writable = true;
  settle();
});
socket.on("data", (chunk) => {
  for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
    const piece = chunk.subarray(at, at + PIECE_BYTES);
    put(piece);
    agent.handle(now(), piece.length);
  }
  settle();
});
socket.on("end", () => {
  agent.handle_eof(now());
  settle();
});
socket.on("error", (error) => finish(error.message));
