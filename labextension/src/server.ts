/** The routes of `jupyter_resume.lab`: this file alone speaks HTTP. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { Curves, extend } from './curves';
import { IFile, IRunRow, IRunView, list, maybe, number, object, readFile, readRow, readView, text } from './run';

/** The version of the routes that this sidebar speaks. */
export const API = 1;
const BASE = 'jupyter-resume/api/v1';
/** Milliseconds after which a server that says nothing counts as away. */
const PATIENCE = 20_000;

/** What went wrong: nothing answers, the routes are not there or too old, they say no, or they break. */
export type Trouble = 'offline' | 'absent' | 'older' | 'refused' | 'broken';

/** A notebook as a page has it open: where it lies, the id that it carries, its kernel's, and its cells'. */
export interface INotebook {
  path: string;
  notebook_id: string | null;
  kernel_id?: string | null;
  cells: readonly string[];
}

/** A request that failed; `kind` is the server's own word for why. */
export class ServerError extends Error {
  constructor(
    readonly trouble: Trouble,
    message: string,
    readonly kind = ''
  ) {
    super(message);
  }
}

/** The runs of a notebook; the first is the one it would go on with. */
export interface IBelonging {
  run: IRunRow | null;
  runs: IRunRow[];
}

/** A run in full, put together over many answers. */
export interface IDetail {
  row: IRunRow;
  view: IRunView;
  config: [string, unknown][];
  files: IFile[];
  /** In full; the view's may be cut. */
  notes: string;
  curves: Curves;
  more: { metrics: number; config: number; files: number };
  /** How much of the history the server has read, up to 1. */
  loaded: number;
  cursor: string;
}

/** Which runs: those of a notebook, of a project, or all; and those that match what is searched for. */
export interface IRunsAsked {
  notebook?: string;
  notebook_id?: string;
  cells?: string;
  only?: 'mine';
  entity?: string;
  project?: string;
  q?: string;
}

/** Runs from some place on, and how many there are in all. */
export interface IRunsPage {
  rows: IRunRow[];
  total: number;
}

/** An answer and its tag; `fresh` is null where nothing changed since the tag that was sent. */
export interface IAnswer<T> {
  tag: string;
  fresh: T | null;
}

/** The version of the server's jupyter_resume; ServerError if it has no routes for us, or too old ones. */
export async function hello(): Promise<string> {
  const said = object(await (await ask(address(['hello']))).json().catch(() => null));
  if (!said) {
    throw new ServerError('absent', '');
  }
  const version = text(said.version);
  if (number(said.api) < API) {
    throw new ServerError('older', version);
  }
  return version;
}

/** Which runs belong to a notebook. */
export function belonging({ path, notebook_id, kernel_id, cells }: INotebook, tag: string): Promise<IAnswer<IBelonging>> {
  const query = { path, notebook_id: notebook_id ?? undefined, kernel_id: kernel_id ?? undefined, cells: cells.join(',') };
  return look(address(['notebook'], query), tag, data => {
    const from = object(data);
    return from && { run: readRow(from.run)[0] ?? null, runs: list(from.runs).flatMap(readRow) };
  });
}

/** The id that this notebook has: the one it carries, or a new one for a copy beside its original. */
export async function notebookId(notebook: INotebook): Promise<string> {
  return text((await tell('PUT', address(['notebook']), notebook)).notebook_id);
}

/** A run in full: `before` brought up to date. */
export function run(path: string, before: IDetail | null, tag: string): Promise<IAnswer<IDetail>> {
  const url = address(['runs', ...path.split('/')], { since: before?.cursor || undefined });
  return look(url, tag, data => readDetail(data, before));
}

function readDetail(data: unknown, before: IDetail | null): IDetail | null {
  const from = object(data);
  const view = readView(from?.view);
  const row = readRow(from?.run)[0];
  if (!from || !view || !row) {
    return null;
  }
  const reset = from.reset !== false;
  const history = object(from.history);
  const more = object(from.more);
  const config = object(from.config);
  return {
    row,
    view,
    config: config ? Object.entries(config) : reset ? [] : (before?.config ?? []),
    files: Array.isArray(from.files) ? from.files.flatMap(readFile) : reset ? [] : (before?.files ?? []),
    notes: 'notes' in from ? text(from.notes) : reset ? view.notes : (before?.notes ?? view.notes),
    curves: extend(before?.curves ?? new Map(), history?.metrics, reset),
    more: { metrics: number(more?.metrics), config: number(more?.config), files: number(more?.files) },
    loaded: maybe(history?.loaded) ?? 1,
    cursor: text(from.cursor)
  };
}

/** To ask for the runs of a notebook. */
export function ofNotebook({ path, notebook_id, cells }: INotebook): IRunsAsked {
  return { notebook: path, notebook_id: notebook_id ?? undefined, cells: cells.join(',') };
}

/** Past runs from `offset` on, newest first. */
export function runs(asked: IRunsAsked, offset: number, limit: number, tag: string): Promise<IAnswer<IRunsPage>> {
  return look(address(['runs'], { ...asked, offset, limit }), tag, data => {
    const from = object(data);
    return from && { rows: list(from.runs).flatMap(readRow), total: number(from.total) };
  });
}

/** Replace a run's notes. */
export async function setNotes(path: string, notes: string): Promise<void> {
  await tell('PATCH', address(['runs', ...path.split('/'), 'notes']), { notes: notes || null });
}

/** Bring a run's file into the folder of a notebook; says so. Kind `LocalFileDiffers`: another file is in its place. */
export async function restore(path: string, name: string, notebook: string, replace: boolean): Promise<string> {
  const said = await tell('POST', address(['runs', ...path.split('/'), 'restore']), { name, notebook, replace });
  return text(said.message);
}

/** Where a run's file can be downloaded from, by the page's own cookie: an address holds no token. */
export function fileAddress(path: string, name: string): string {
  return address(['runs', ...path.split('/'), 'files', ...name.split('/')]);
}

function address(parts: string[], query: Record<string, string | number | undefined> = {}): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === '' ? [] : [`${encodeURIComponent(name)}=${encodeURIComponent(value)}`]
  );
  const { baseUrl } = ServerConnection.makeSettings();
  const path = URLExt.join(baseUrl, BASE, ...parts.map(encodeURIComponent));
  return given.length ? `${path}?${given.join('&')}` : path;
}

async function ask(url: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    // `reload`: we compare tags ourselves; `no-store` would make each address a new one.
    const signal = init.method ? null : AbortSignal.timeout(PATIENCE); // bringing a large file back takes its time
    const settings = ServerConnection.makeSettings();
    response = await ServerConnection.makeRequest(url, { cache: 'reload', signal, ...init }, settings);
  } catch (error) {
    throw new ServerError('offline', String(error));
  }
  if (response.ok || response.status === 304) {
    return response;
  }
  const said = object(await response.json().catch(() => null));
  const message = text(said?.message) || `${response.status} ${response.statusText}`;
  const kind = text(said?.kind);
  if ([502, 503, 504].includes(response.status) && !kind) {
    throw new ServerError('offline', message);
  }
  // Our routes always say of which kind an error is; a 404 that does not is a server without them.
  const trouble = response.status === 404 && !kind ? 'absent' : response.status < 500 ? 'refused' : 'broken';
  throw new ServerError(trouble, message, kind);
}

async function look<T>(url: string, tag: string, read: (data: unknown) => T | null): Promise<IAnswer<T>> {
  const response = await ask(url, tag ? { headers: { 'If-None-Match': tag } } : {});
  if (response.status === 304) {
    return { tag, fresh: null };
  }
  const fresh = read(await response.json().catch(() => null));
  if (fresh === null) {
    throw new ServerError('broken', 'The answer of the server is not understood.');
  }
  return { tag: response.headers.get('ETag') ?? '', fresh };
}

async function tell(method: string, url: string, body: object): Promise<Record<string, unknown>> {
  const response = await ask(url, { method, body: JSON.stringify(body) });
  return object(await response.json().catch(() => null)) ?? {};
}
