/** Keeps the notebook's own id and run in its metadata: at a run's start and end, and for a copy that was opened. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { UUID } from '@lumino/coreutils';
import { asOpen, carried, carry } from '../identity';
import * as server from '../server';
import { IFollower } from '../tokens';
import { Watch } from '../watch';

export const identity: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-resume:identity',
  description: "Writes a notebook's id and run into its metadata, so that it is found again when renamed or moved.",
  autoStart: true,
  requires: [IFollower],
  activate: (_: JupyterFrontEnd, follower: IFollower) => {
    const attend = (watch: Watch) => {
      let last = '';
      watch.changed.connect(() => {
        const { live } = watch;
        const now = live ? `${live.path} ${live.state === 'running'}` : last;
        if (live && now !== last) {
          last = now;
          void write(watch, live.path);
        }
      });
      const { context } = watch.panel;
      void context.ready.then(() => introduce(watch));
      context.pathChanged.connect(() => void introduce(watch));
    };
    follower.opened.connect((_, watch) => attend(watch));
    for (const watch of follower.watches) {
      attend(watch);
    }
  }
};

/** The id that the notebook is to have: the server tells a copy from its original; without one it keeps its own. */
async function idOf(watch: Watch): Promise<string> {
  const notebook = asOpen(watch.panel);
  const told = await server.notebookId(notebook).catch(() => '');
  return told || notebook.notebook_id || UUID.uuid4();
}

async function write(watch: Watch, run: string): Promise<void> {
  const id = await idOf(watch);
  carry(watch.panel, id, run);
}

/** Tell the server where a notebook with an id is now, before its kernel asks. Nothing is written. */
async function introduce(watch: Watch): Promise<void> {
  if (carried(watch.panel)?.notebook_id) {
    await idOf(watch);
  }
}
