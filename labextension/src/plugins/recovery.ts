/** Resuming after a kernel's death: by command, and by itself if the settings say so. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, TranslationBundle, nullTranslator } from '@jupyterlab/translation';
import { resumeIcon } from '../icon';
import { TAG } from '../plan';
import { Recoveries } from '../recovery';
import { CATEGORY, DOMAIN, IFollower, IRecoveries } from '../tokens';
import { askAndResume } from '../ui/planned';
import { Watch } from '../watch';
import { count, short } from '../words';

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
    const show = (watch: Watch) => {
      app.shell.activateById(watch.panel.id);
      void (commands.hasCommand('jupyter-resume:open') && commands.execute('jupyter-resume:open'));
    };
    const attend = (watch: Watch) => {
      recoveries.attend(watch);
      tellOfDeaths(watch, follower, trans, () => show(watch));
    };
    follower.opened.connect((_, watch) => attend(watch));
    for (const watch of follower.watches) {
      attend(watch);
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
      isEnabled: () => tracker.currentWidget !== null,
      execute: () => follower.situation.watch && askAndResume(follower.situation.watch, recoveries, trans)
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

/** Where nobody sees the sidebar, a notification tells of a kernel's death, for as long as it is unanswered. */
function tellOfDeaths(watch: Watch, follower: IFollower, trans: TranslationBundle, show: () => void): void {
  let told = { at: 0, id: '' };
  watch.changed.connect(() => {
    const { death } = watch;
    if (!death && told.id) {
      Notification.dismiss(told.id);
      told = { at: told.at, id: '' };
    }
    const seen = follower.viewed && follower.situation.watch === watch;
    if (death?.view?.state === 'running' && death.at !== told.at && !seen) {
      const words = trans.__('The kernel died at step %1 of run %2.', count(death.view.step), short(death.view.name, 60));
      const actions = [{ label: trans.__('Show'), callback: show, displayType: 'accent' as const }];
      told = { at: death.at, id: Notification.warning(words, { autoClose: false, actions }) };
    }
  });
}

function tags(tracker: INotebookTracker): string[] {
  const now: unknown = tracker.activeCell?.model.getMetadata('tags');
  return Array.isArray(now) ? now.map(String) : [];
}
