/** Resuming: run the planned cells again, in order, once there is a kernel to run them in. */

import { ISessionContext } from '@jupyterlab/apputils';
import { Cell } from '@jupyterlab/cells';
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator } from '@jupyterlab/translation';
import { asOpen } from './identity';
import { ICell, IPlan, plan } from './plan';
import { IRunRow, object } from './run';
import * as server from './server';
import { Watch } from './watch';

/** Milliseconds that a kernel has to come back before we say that it does not. */
const PATIENCE = 120_000;
/** Milliseconds before a connection that says nothing is made anew, the first time. */
const RECONNECT = 4000;
const AT_ONCE = 500;
/** Milliseconds in which the server is to say which cell the run was in. */
const SOON = 3000;

/** What is being done about a resume: waiting for the kernel, running the cells; or why it went wrong. */
export interface IProgress {
  phase: 'waiting' | 'running' | 'failed';
  why: string;
}

/**
 * The cells that resuming a run in this notebook will run; `row`: what the server says of the run, as far as it does.
 *
 * Which cell the run was in is said by its record, so that any page knows it; where it is not, by what this page saw.
 */
export function planOf(watch: Watch, row: Pick<IRunRow, 'path' | 'cell'> | null): IPlan {
  const { seen } = watch;
  const ours = seen && (!row || !seen.run || seen.run === row.path) ? { id: seen.id, running: true } : null;
  return plan(watch.panel.content.widgets.map(described), row?.cell ?? ours);
}

/** As `planOf`, with the server asked now: of the run `chosen`, else of the notebook's own. */
export async function planNow(watch: Watch, chosen?: string): Promise<IPlan> {
  const late = new Promise<null>(resolve => setTimeout(resolve, SOON, null));
  const row = await Promise.race([rowOf(watch, chosen), late]).catch(() => null);
  return planOf(watch, row ?? (chosen ? { path: chosen, cell: null } : null));
}

async function rowOf(watch: Watch, chosen?: string): Promise<IRunRow | null> {
  const path = chosen ?? (await server.belonging(asOpen(watch.panel), '')).fresh?.run?.path;
  return path ? ((await server.run(path, null, '')).fresh?.row ?? null) : null;
}

function described({ model }: Cell): ICell {
  const tags: unknown = model.getMetadata('tags');
  return {
    id: model.id,
    code: model.type === 'code',
    source: model.sharedModel.getSource(),
    tags: Array.isArray(tags) ? tags.filter(tag => typeof tag === 'string') : []
  };
}

/**
 * Run the plan's cells in the notebook's kernel; resolves once they have ended, to whether all went well.
 *
 * A dead kernel is started again first; one that the server is bringing back is awaited. `chosen` is the path of
 * the run that the cells shall continue, if it is not the notebook's own. With `alone` nothing is run if another
 * page has gone on in this kernel already. Rejects if there is no kernel to be had.
 */
export async function resume(
  watch: Watch,
  cells: IPlan,
  options: { chosen?: string; alone?: boolean; translator?: ITranslator; onRunning?: () => void }
): Promise<boolean> {
  const { panel } = watch;
  await revive(panel.sessionContext);
  if (!(await first(panel.sessionContext)) && options.alone) {
    return false;
  }
  if (options.chosen) {
    await choose(panel.sessionContext, options.chosen);
  }
  const wanted = cells.cells.flatMap(cell => panel.content.widgets.find(widget => widget.model.id === cell.id) ?? []);
  watch.settle();
  options.onRunning?.();
  return NotebookActions.runCells(panel.content, wanted, panel.sessionContext, undefined, options.translator);
}

/** Wait until the kernel takes requests, starting it if it is dead. */
async function revive(context: ISessionContext): Promise<void> {
  await context.ready;
  if (context.session?.kernel?.status === 'dead' || !context.session?.kernel) {
    await context.restartKernel();
  }
  await idle(context);
}

/**
 * Resolve once the kernel takes requests.
 *
 * A page that was reloaded while the kernel was busy asked the old one who it is, and after a death waits for that
 * answer for ever: the connection is made anew, with more patience each time.
 */
function idle(context: ISessionContext): Promise<void> {
  return new Promise((resolve, reject) => {
    let again: ReturnType<typeof setTimeout>;
    const kernel = () => context.session?.kernel;
    const end = (settle: () => void) => {
      clearTimeout(timer);
      clearTimeout(again);
      context.statusChanged.disconnect(look);
      settle();
    };
    const look = () => {
      if (kernel()?.status === 'idle') {
        end(resolve);
      }
    };
    const reconnect = (patience: number) => {
      again = setTimeout(() => {
        if (kernel()?.status !== 'busy') {
          void kernel()?.reconnect().catch(() => undefined);
        }
        reconnect(2 * patience);
      }, patience);
    };
    const timer = setTimeout(() => end(() => reject(new Error(context.kernelDisplayStatus))), PATIENCE);
    context.statusChanged.connect(look);
    reconnect(kernel()?.status === 'unknown' ? AT_ONCE : RECONNECT);
    look();
  });
}

/** Whether no other page, of this browser or another, goes on in this kernel. Where it cannot be told, nobody does. */
async function first(context: ISessionContext): Promise<boolean> {
  const asked = "__import__('jupyter_resume.notebook.once', fromlist=['once']).first()";
  const content = { code: '', silent: true, store_history: false, user_expressions: { first: asked } };
  const reply = (await context.session?.kernel?.requestExecute(content).done)?.content;
  const said = reply?.status === 'ok' ? object(object(reply.user_expressions)?.first) : null;
  return object(said?.data)?.['text/plain'] !== 'False';
}

/** Let the next run that is begun in this kernel be the one of this path; once. */
async function choose(context: ISessionContext, path: string): Promise<void> {
  const code = `from jupyter_resume.notebook import chosen as _c; _c.choose(${JSON.stringify(path)}); del _c`;
  const future = context.session?.kernel?.requestExecute({ code, silent: true, store_history: false });
  const reply = await future?.done;
  if (reply?.content.status !== 'ok') {
    throw new Error(reply?.content.status === 'error' ? reply.content.evalue : 'the kernel does not answer');
  }
}

/** Whether a notebook's kernel is free to run the cells now. */
export function free(panel: NotebookPanel): boolean {
  return panel.sessionContext.session?.kernel?.status !== 'busy';
}
