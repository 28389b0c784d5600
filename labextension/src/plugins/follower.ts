/** Follows the run of the notebook in front, for the other plugins. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { Follower } from '../follow';
import { IFollower } from '../tokens';

export const follower: JupyterFrontEndPlugin<IFollower> = {
  id: 'jupyter-resume:follower',
  description: 'Follows the run of the notebook in front.',
  autoStart: true,
  provides: IFollower,
  requires: [INotebookTracker],
  activate: (_: JupyterFrontEnd, tracker: INotebookTracker) => new Follower(tracker)
};
