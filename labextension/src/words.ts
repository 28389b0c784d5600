/** Values in words for a person, as `wording.py` says them in the cell. */

import type { TranslationBundle } from '@jupyterlab/translation';
import type { Value } from './run';

// Characters that move the cursor, or the text around them.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** One line of at most `width` characters. */
export function short(text: string, width = 120): string {
  const line = text.slice(0, 4 * width).replace(UNSEEN, ' ').replace(/\s+/g, ' ').trim();
  const letters = Array.from(line);
  return letters.length <= width && text.length <= 4 * width ? line : `${letters.slice(0, width - 1).join('')}…`;
}

/** A metric's or a configuration's value in a few characters. */
export function value(of: Value | undefined): string {
  if (typeof of !== 'number') {
    return of === null || of === undefined ? '–' : short(String(of), 60);
  }
  if (Number.isInteger(of) && Math.abs(of) < 1e15) {
    return of.toLocaleString();
  }
  const size = Math.abs(of);
  return size !== 0 && (size < 1e-4 || size >= 1e7) ? of.toExponential(3) : String(Number(of.toPrecision(5)));
}

export function count(of: number): string {
  return of.toLocaleString();
}

/** Bytes. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let power = 0;
  let amount = bytes;
  while (amount >= 1000 && power < units.length - 1) {
    amount /= 1000;
    power += 1;
  }
  return `${power ? amount.toFixed(1) : amount} ${units[power]}`;
}

/** Seconds: 5s, 3m 20s, 2h 05m, 3d 4h. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (part: number) => String(part).padStart(2, '0');
  if (whole < 60) {
    return `${whole}s`;
  }
  if (whole < 3600) {
    return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  }
  if (whole < 86_400) {
    return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  }
  return `${Math.floor(whole / 86_400)}d ${Math.floor((whole % 86_400) / 3600)}h`;
}

/** How long ago a time in Unix seconds was. */
export function age(at: number, trans: TranslationBundle, now = Date.now() / 1000): string {
  const past = now - at;
  if (past < 10) {
    return trans.__('now');
  }
  const unit = past < 60 ? 's' : past < 3600 ? 'm' : past < 86_400 ? 'h' : 'd';
  const amount = Math.floor(past / { s: 1, m: 60, h: 3600, d: 86_400 }[unit]);
  return trans.__('%1 ago', `${amount}${unit}`);
}

/** The time of day, with the date unless it is today's. */
export function clock(at: number): string {
  const then = new Date(at * 1000);
  const today = then.toDateString() === new Date().toDateString();
  return today ? then.toLocaleTimeString() : then.toLocaleString();
}

/** A run's state, for a person. */
export function state(of: string, trans: TranslationBundle): string {
  const known: Record<string, string> = {
    running: trans.__('Running'),
    finished: trans.__('Finished'),
    failed: trans.__('Failed'),
    crashed: trans.__('Crashed'),
    interrupted: trans.__('Interrupted'),
    preempted: trans.__('Preempted'),
    'taken over': trans.__('Taken over'),
    lost: trans.__('Lost')
  };
  return known[of] ?? short(of, 30);
}
