/** What there is to know of a run: the values that the kernel and the server send, read with tolerance. */

export const MIME = 'application/vnd.jupyter-resume.run+json';

export type Value = number | string | boolean | null;

export interface IMetric {
  name: string;
  last: Value;
  points: number[];
}

/** A run as it stood `at` (Unix seconds), as `render.json` in Python writes it; `step` is the next to log. */
export interface IRunView {
  path: string;
  name: string;
  state: string;
  resumed: boolean;
  starting_step: number;
  reason: string;
  step: number;
  elapsed: number;
  at: number;
  metrics: IMetric[];
  files: [string, number][];
  restored: string[];
  not_restored: [string, string][];
  waiting: number;
  notes: string;
  /** Steps that the run will have, where it says so. */
  total: number | null;
  /** Its page on its server, and how it stands with that. */
  url: string | null;
  server: string;
  more: { metrics: number; files: number };
}

/** A saved file; `step` is the last that was logged before it. */
export interface IFile {
  name: string;
  size: number;
  step: number | null;
  saved_at: number | null;
}

/** The cell that a run is in: which ran with it when its kernel ended, or in which it moved last. */
export interface IInCell {
  id: string;
  running: boolean;
}

/** Where a run was begun: a notebook (its path in the file browser, if it lies there) or a program. */
export interface IOrigin {
  kind: string;
  label: string;
  path: string | null;
}

/** A run in a list; `last_step` is -1 before the first. */
export interface IRunRow {
  path: string;
  project: string;
  id: string;
  name: string;
  state: string;
  live: boolean;
  resumable: boolean;
  last_step: number;
  next_step: number;
  updated: number;
  origin: IOrigin | null;
  last_file: IFile | null;
  rows_lost: number;
  /** Null where the server does not know it, or is too old to say. */
  cell: IInCell | null;
  /** Whether it is the run of the notebook that was asked for. */
  mine: boolean;
}

const LONGEST = 65_536;

type Loose = Record<string, unknown>;

/** The view in a message or an output; null for what is none, such as one of a later, unknown form. */
export function readView(data: unknown): IRunView | null {
  const from = object(data);
  if (!from || typeof from.path !== 'string' || typeof from.state !== 'string') {
    return null;
  }
  const more = object(from.more);
  return {
    path: text(from.path),
    name: text(from.name) || text(from.path),
    state: text(from.state),
    resumed: from.resumed === true,
    starting_step: number(from.starting_step),
    reason: text(from.reason),
    step: number(from.step),
    elapsed: number(from.elapsed),
    at: number(from.at),
    metrics: list(from.metrics).flatMap(readMetric),
    files: list(from.files).flatMap(readPair).map(([name, size]) => [name, number(size)]),
    restored: list(from.restored).map(text),
    not_restored: list(from.not_restored).flatMap(readPair).map(([name, why]) => [name, text(why)]),
    waiting: number(from.waiting),
    notes: text(from.notes),
    total: maybe(from.total),
    url: link(from.url),
    server: text(from.server),
    more: { metrics: number(more?.metrics), files: number(more?.files) }
  };
}

function readMetric(data: unknown): IMetric[] {
  const from = object(data);
  if (!from || typeof from.name !== 'string') {
    return [];
  }
  return [{ name: text(from.name), last: value(from.last), points: list(from.points).filter(isFinite_) }];
}

function readPair(data: unknown): [string, unknown][] {
  return Array.isArray(data) && typeof data[0] === 'string' ? [[text(data[0]), data[1]]] : [];
}

/** A file as the server lists it; none for what is no file. */
export function readFile(data: unknown): IFile[] {
  const from = object(data);
  if (!from || typeof from.name !== 'string') {
    return [];
  }
  return [{ name: from.name, size: number(from.size), step: maybe(from.step), saved_at: maybe(from.saved_at) }];
}

/** A run as the server lists it; none for what is no run. */
export function readRow(data: unknown): IRunRow[] {
  const from = object(data);
  if (!from || typeof from.path !== 'string') {
    return [];
  }
  const origin = object(from.origin);
  const id = text(from.id) || from.path.slice(from.path.lastIndexOf('/') + 1);
  return [
    {
      path: from.path,
      project: text(from.project),
      id,
      name: text(from.name) || id,
      state: text(from.state),
      live: from.live === true,
      resumable: from.resumable === true,
      last_step: maybe(from.last_step) ?? -1,
      next_step: number(from.next_step),
      updated: number(from.updated),
      origin: origin && { kind: text(origin.kind), label: text(origin.label), path: text(origin.path) || null },
      last_file: readFile(from.last_file)[0] ?? null,
      rows_lost: number(from.rows_lost),
      cell: readInCell(from.cell),
      mine: from.mine === true
    }
  ];
}

function readInCell(data: unknown): IInCell | null {
  const from = object(data);
  return from && typeof from.id === 'string' ? { id: from.id, running: from.running === true } : null;
}

export function object(data: unknown): Loose | null {
  return typeof data === 'object' && data !== null && !Array.isArray(data) ? (data as Loose) : null;
}

export function list(data: unknown): unknown[] {
  return Array.isArray(data) ? data : [];
}

export function text(data: unknown): string {
  return typeof data === 'string' ? data.slice(0, LONGEST) : '';
}

export function number(data: unknown): number {
  return isFinite_(data) ? data : 0;
}

export function maybe(data: unknown): number | null {
  return isFinite_(data) ? data : null;
}

/** An address that a browser may follow: of the web, and nothing else. */
function link(data: unknown): string | null {
  return typeof data === 'string' && /^https?:\/\//i.test(data) ? data : null;
}

function value(data: unknown): Value {
  return typeof data === 'number' || typeof data === 'boolean' ? data : typeof data === 'string' ? text(data) : null;
}

function isFinite_(data: unknown): data is number {
  return typeof data === 'number' && Number.isFinite(data);
}
