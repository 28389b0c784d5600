/** The small key in a notebook's metadata by which it finds its run again, and a copy is told apart from it. */

import { NotebookPanel } from '@jupyterlab/notebook';
import { object } from './run';
import type { INotebook } from './server';

export const KEY = 'jupyter_resume';
const VERSION = 1;
const MOST_CELLS = 100; // in an address; the server knows those that are saved

/** What a notebook carries: its own id, and the path of its last run. */
export interface ICarried {
  notebook_id: string | null;
  run: string | null;
}

/** What the notebook carries; null if nothing, or nothing that is ours. */
export function carried(panel: NotebookPanel | null | undefined): ICarried | null {
  const from = object(panel?.context.isReady ? panel.context.model.getMetadata(KEY) : null);
  return (
    from && {
      notebook_id: typeof from.notebook_id === 'string' && /^[\w-]{1,64}$/.test(from.notebook_id) ? from.notebook_id : null,
      run: typeof from.run === 'string' && from.run.split('/').length === 3 ? from.run : null
    }
  );
}

/** A notebook as it is open; its cells tell it from another that lay at its path, also before they are saved. */
export function asOpen(panel: NotebookPanel): INotebook {
  const { context, content, sessionContext } = panel;
  return {
    path: context.path,
    notebook_id: carried(panel)?.notebook_id ?? null,
    kernel_id: sessionContext.session?.kernel?.id ?? null,
    cells: context.isReady ? content.widgets.slice(0, MOST_CELLS).map(cell => cell.model.id) : []
  };
}

/**
 * Write what the notebook is to carry; whether it was written.
 *
 * Nothing is written that is there already, nor into a notebook that cannot be saved or whose key a later version
 * wrote. What others keep under the key stays. The user saves, not we.
 */
export function carry(panel: NotebookPanel, notebook_id: string, run: string): boolean {
  const { context } = panel;
  if (panel.isDisposed || !context.isReady || context.model.readOnly || context.contentsModel?.writable === false) {
    return false;
  }
  const before = object(context.model.getMetadata(KEY)) ?? {};
  if (typeof before.version === 'number' && before.version > VERSION) {
    return false;
  }
  if (before.version === VERSION && before.notebook_id === notebook_id && before.run === run) {
    return false;
  }
  context.model.setMetadata(KEY, { ...before, version: VERSION, notebook_id, run });
  return true;
}
