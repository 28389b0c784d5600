/** A quiet item in the status bar: the run's state and step, if there is a run. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, TranslationBundle, nullTranslator } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';
import { Follower } from '../follow';
import { DOMAIN, IFollower } from '../tokens';
import { count, short, state } from '../words';

class Item extends ReactWidget {
  constructor(
    private readonly _follower: Follower,
    private readonly _trans: TranslationBundle,
    private readonly _open: () => void
  ) {
    super();
    this.addClass('jp-mod-highlighted');
    _follower.changed.connect(this._onChanged, this);
  }

  protected render(): JSX.Element | null {
    const { view, chosen } = this._follower.situation;
    if (!view || chosen) {
      return null;
    }
    const words = this._trans.__('%1, step %2', state(view.state, this._trans), count(view.step));
    return (
      <button
        type="button"
        className="jp-Resume-status"
        title={this._trans.__('Run %1: show it in the sidebar', short(view.name, 60))}
        onClick={this._open}
      >
        {words}
      </button>
    );
  }

  private _onChanged(): void {
    const shown = tells(this._follower);
    if (shown !== !this.isHidden) {
      this.setHidden(!shown);
    }
    this.update();
  }
}

/** Whether there is something to say: of the notebook's own run only. */
function tells(follower: Follower): boolean {
  const { view, chosen } = follower.situation;
  return view !== null && !chosen;
}

export const status: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-resume:status',
  description: "The run's state and step in the status bar.",
  autoStart: true,
  requires: [IFollower],
  optional: [IStatusBar, ITranslator],
  activate: (app: JupyterFrontEnd, follower: IFollower, bar: IStatusBar | null, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const command = 'jupyter-resume:open';
    const open = () => void (app.commands.hasCommand(command) && app.commands.execute(command));
    bar?.registerStatusItem('jupyter-resume:status', {
      item: new Item(follower, trans, open),
      align: 'left',
      rank: 90,
      isActive: () => tells(follower),
      activeStateChanged: follower.changed
    });
  }
};
