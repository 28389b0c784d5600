/** Resuming after a kernel's death: by command, and by itself if the settings say so. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { resumeIcon } from '../icon';
import { TAG } from '../plan';
import { Recoveries } from '../recovery';
import { free } from '../resume';
import { CATEGORY, DOMAIN, IFollower, IRecoveries } from '../tokens';

const ID = 'jupyter-resume:recovery';

export const recovery: JupyterFrontEndPlugin<IRecoveries> = {
  id: ID,
  description: "Runs a notebook's cells again after its kernel died, so that its run goes on.",
  autoStart: true,
  provides: IRecoveries,
  requires: [IFollower, INotebookTracker],
  optional: [ISettingRegistry, ITranslator, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    follower: IFollower,
    tracker: INotebookTracker,
    settings: ISettingRegistry | null,
    translator: ITranslator | null,
    palette: ICommandPalette | null
  ) => {
    const { commands } = app;
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const recoveries = new Recoveries(translator ?? nullTranslator);
    follower.opened.connect((_, watch) => recoveries.attend(watch));
    for (const watch of follower.watches) {
      recoveries.attend(watch);
    }
    let store: ISettingRegistry.ISettings | null = null;
    void settings?.load(ID).then(loaded => {
      store = loaded;
      const read = () => {
        const { autoResume, limit, pause } = loaded.composite;
        recoveries.automatic = { on: autoResume === true, limit: Number(limit ?? 5), pause: Number(pause ?? 10) };
        commands.notifyCommandChanged('jupyter-resume:toggle-auto');
      };
      loaded.changed.connect(read);
      read();
    }, console.warn);

    commands.addCommand('jupyter-resume:resume', {
      label: trans.__('Resume the Run of This Notebook'),
      caption: trans.__('Run the cells tagged “resume”, or all from the top to the one that was running'),
      icon: resumeIcon,
      isEnabled: () => tracker.currentWidget !== null && free(tracker.currentWidget),
      execute: () => follower.situation.watch && recoveries.resume(follower.situation.watch)
    });
    commands.addCommand('jupyter-resume:toggle-auto', {
      label: trans.__('Resume by Itself After a Kernel Death'),
      caption: trans.__('Run the cells again whenever a kernel dies in the middle of a run'),
      isEnabled: () => store !== null,
      isToggled: () => recoveries.automatic.on,
      execute: () => store?.set('autoResume', !recoveries.automatic.on)
    });
    commands.addCommand('jupyter-resume:tag-cell', {
      label: trans.__('Run This Cell on Resume'),
      caption: trans.__('Tag the cell “resume”: if any are, they are what resuming runs'),
      isEnabled: () => tracker.activeCell?.model.type === 'code',
      isToggled: () => tags(tracker).includes(TAG),
      execute: () => {
        const now = tags(tracker);
        const model = tracker.activeCell?.model;
        const next = now.includes(TAG) ? now.filter(tag => tag !== TAG) : [...now, TAG];
        if (next.length) {
          model?.setMetadata('tags', next);
        } else {
          model?.deleteMetadata('tags');
        }
      }
    });
    for (const command of ['jupyter-resume:resume', 'jupyter-resume:toggle-auto', 'jupyter-resume:tag-cell']) {
      palette?.addItem({ command, category: trans.__(CATEGORY) });
    }
    return recoveries;
  }
};

function tags(tracker: INotebookTracker): string[] {
  const now: unknown = tracker.activeCell?.model.getMetadata('tags');
  return Array.isArray(now) ? now.map(String) : [];
}
