/** The courses of a run's metrics, put together from what the server sends piece by piece. */

import { Value, list, maybe, object, text } from './run';

/** A metric's last value and its course; a null is no number: the line ends there. */
export interface ICurve {
  name: string;
  last: Value;
  steps: number[];
  values: (number | null)[];
  /** Whether `steps` are the run's; else they only count the values. */
  exact: boolean;
}

export type Curves = ReadonlyMap<string, ICurve>;

/**
 * The curves after one more answer: a piece replaces all (`from` is null), or all from a step on.
 *
 * An answer that is repeated does no harm.
 */
export function extend(before: Curves, pieces: unknown, reset: boolean): Curves {
  const curves = new Map(reset ? [] : before);
  for (const data of list(pieces)) {
    const piece = object(data);
    if (!piece || typeof piece.name !== 'string') {
      continue;
    }
    const from = maybe(piece.from);
    const known = from === null ? undefined : curves.get(piece.name);
    const first = known && from !== null ? known.steps.findIndex(step => step >= from) : -1;
    const kept = known ? (first < 0 ? known.steps.length : first) : 0;
    const steps = list(piece.steps).map(step => maybe(step) ?? 0);
    const values = list(piece.values).map(maybe).slice(0, steps.length);
    curves.set(piece.name, {
      name: piece.name,
      last: scalar(piece.last),
      steps: [...(known?.steps.slice(0, kept) ?? []), ...steps.slice(0, values.length)],
      values: [...(known?.values.slice(0, kept) ?? []), ...values],
      exact: true
    });
  }
  return curves;
}

function scalar(data: unknown): Value {
  return typeof data === 'number' || typeof data === 'boolean' ? data : typeof data === 'string' ? text(data) : null;
}

/** Where a curve lies in its drawing: the polylines' points, and the numbers at the edges. */
export interface IDrawing {
  lines: string[];
  low: number;
  high: number;
  first: number;
  last: number;
}

/** A curve drawn into `width` by `height`; null if it has no number, or on a log scale none above 0. */
export function draw(curve: ICurve, width: number, height: number, log: boolean): IDrawing | null {
  const put = (value: number) => (log ? Math.log10(value) : value);
  const usable = (value: number | null): value is number => value !== null && (!log || value > 0);
  let low = Infinity;
  let high = -Infinity;
  for (const value of curve.values) {
    if (usable(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) {
    return null;
  }
  const first = curve.steps[0] ?? 0;
  const last = curve.steps[curve.steps.length - 1] ?? first;
  // Halved before they are subtracted, so that no difference overflows.
  const [bottom, top] = [put(low) / 2, put(high) / 2];
  const lines: string[] = [];
  let line: string[] = [];
  const end = () => {
    if (line.length) {
      lines.push(line.length === 1 ? `${line[0]} ${line[0]}` : line.join(' '));
      line = [];
    }
  };
  curve.values.forEach((value, n) => {
    if (!usable(value)) {
      return end();
    }
    const x = last > first ? (((curve.steps[n] ?? first) - first) / (last - first)) * width : width / 2;
    const y = top > bottom ? height - ((put(value) / 2 - bottom) / (top - bottom)) * height : height / 2;
    line.push(`${Math.round(10 * x) / 10},${Math.round(10 * y) / 10}`);
  });
  end();
  return { lines, low, high, first, last };
}

/** The course nearest to a step, for a pointer that rests there. */
export function nearest(curve: ICurve, step: number): { step: number; value: number | null } | null {
  let low = 0;
  let high = curve.steps.length - 1;
  if (high < 0) {
    return null;
  }
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((curve.steps[middle] ?? 0) < step) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const before = curve.steps[low - 1];
  const n = before !== undefined && step - before < (curve.steps[low] ?? 0) - step ? low - 1 : low;
  return { step: curve.steps[n] ?? 0, value: curve.values[n] ?? null };
}
