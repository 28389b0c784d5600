/** Shows our MIME type in a cell's output: the run as the kernel last told it. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { MIME } from '../run';
import { DOMAIN, IFollower } from '../tokens';
import { Output } from '../ui/output';

export const renderer: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-resume:renderer',
  description: "Shows a run in a cell's output.",
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ITranslator, IFollower],
  activate: (
    _: JupyterFrontEnd,
    registry: IRenderMimeRegistry,
    translator: ITranslator | null,
    follower: IFollower | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    registry.addFactory(
      {
        safe: true, // every text is put as text: an output that is not trusted can be shown
        mimeTypes: [MIME],
        createRenderer: (options: IRenderMime.IRendererOptions) => new Output(options.mimeType, trans, follower)
      },
      0
    );
  }
};
