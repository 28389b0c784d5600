/** The sidebar, and the commands around it. */

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { addIcon, refreshIcon } from '@jupyterlab/ui-components';
import { resumeIcon } from '../icon';
import { CATEGORY, DOMAIN, IFollower, IRecoveries } from '../tokens';
import { Sidebar } from '../ui/sidebar';

const BEGINNING = '%load_ext jupyter_resume\nrun = %wb_init --resume allow';

export const panel: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-resume:panel',
  description: 'A sidebar that shows the run of the notebook in front, and past runs.',
  autoStart: true,
  requires: [IFollower, INotebookTracker],
  optional: [IRecoveries, ITranslator, ILayoutRestorer, ICommandPalette, ILabShell],
  activate: (
    app: JupyterFrontEnd,
    follower: IFollower,
    tracker: INotebookTracker,
    recoveries: IRecoveries | null,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    labShell: ILabShell | null
  ) => {
    const { commands, shell } = app;
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const sidebar = new Sidebar({
      trans,
      follower,
      recoveries,
      execute: (command, args) => (commands.hasCommand(command) ? commands.execute(command, args) : Promise.resolve())
    });
    sidebar.id = 'jupyter-resume-panel';
    sidebar.title.icon = resumeIcon;
    sidebar.title.caption = trans.__('Run of this notebook');
    sidebar.node.setAttribute('role', 'region');
    sidebar.node.setAttribute('aria-label', trans.__('Run of this notebook'));
    shell.add(sidebar, 'right', { rank: 600 });
    restorer?.add(sidebar, sidebar.id);

    commands.addCommand('jupyter-resume:open', {
      label: args => (args.toolbar ? '' : trans.__('Show the Run of This Notebook')),
      caption: trans.__('Open the sidebar with state, metrics, files and past runs'),
      icon: resumeIcon,
      // JupyterLab has the sidebar's tab always in sight: only Notebook 7 needs a button beside the notebook's own.
      isVisible: args => !(args.toolbar && labShell),
      execute: () => {
        shell.activateById(sidebar.id);
        // The palette gives the focus back to the notebook when it closes, after this.
        requestAnimationFrame(() => sidebar.node.focus());
      }
    });
    commands.addCommand('jupyter-resume:refresh', {
      label: trans.__('Refresh the Run of This Notebook'),
      caption: trans.__('Ask the server now'),
      icon: refreshIcon,
      isEnabled: () => sidebar.isVisible,
      execute: () => follower.refresh()
    });
    commands.addCommand('jupyter-resume:begin', {
      label: trans.__('Insert a Cell That Begins a Run'),
      caption: trans.__('Put %load_ext jupyter_resume and %wb_init at the top of the notebook'),
      icon: addIcon,
      isEnabled: () => tracker.currentWidget !== null,
      execute: () => {
        const notebook = tracker.currentWidget?.content;
        if (notebook?.model && !notebook.model.readOnly) {
          notebook.activeCellIndex = 0;
          NotebookActions.insertAbove(notebook);
          notebook.activeCell?.model.sharedModel.setSource(BEGINNING);
          shell.activateById(tracker.currentWidget?.id ?? '');
        }
      }
    });
    commands.addCommand('jupyter-resume:copy', {
      label: trans.__('Copy to the Clipboard'),
      isVisible: () => false,
      execute: args => Clipboard.copyToSystem(String(args.text ?? ''))
    });
    for (const command of ['jupyter-resume:open', 'jupyter-resume:refresh', 'jupyter-resume:begin']) {
      palette?.addItem({ command, category: trans.__(CATEGORY) });
    }
  }
};
