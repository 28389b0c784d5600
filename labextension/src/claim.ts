/** One of several tabs of a browser, so that they do not start one kernel twice: the last that put its name is the one, and looks again whether it still is. */

import { memory } from './memory';

const me = Math.random().toString(36).slice(2);
const SETTLED = 300; // milliseconds, in which every tab has put its name
const VALID = 30_000;

/** Whether this tab is the one to act on `what`, for half a minute. */
export async function claim(what: string): Promise<boolean> {
  const key = `claim:${what}`;
  const [name, at] = (memory.get(key) ?? '').split(':');
  if (name && name !== me && Date.now() - Number(at) > SETTLED && Date.now() - Number(at) < VALID) {
    return false;
  }
  memory.set(key, `${me}:${Date.now()}`);
  await new Promise(resolve => setTimeout(resolve, SETTLED));
  return memory.get(key)?.startsWith(`${me}:`) === true;
}
