/** A run in a cell's output: as the kernel told it, unless it is known since that it stopped. */

import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import * as React from 'react';
import { Follower } from '../follow';
import { IRunView, readView } from '../run';
import { OutputView } from './outputView';

export class Output extends ReactWidget implements IRenderMime.IRenderer {
  constructor(
    private readonly _mime: string,
    private readonly _trans: TranslationBundle,
    private readonly _follower: Follower | null
  ) {
    super();
    this.addClass('jp-Resume-output');
    _follower?.changed.connect(this._onChanged, this);
  }

  dispose(): void {
    Signal.clearData(this);
    super.dispose();
  }

  /** Show what a message says; what is none of ours stays unshown. */
  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._view = readView(model.data[this._mime]);
    this._ended = this._known();
    this.update();
    return this.renderPromise ?? Promise.resolve();
  }

  protected render(): JSX.Element | null {
    const view = this._view && this._ended ? { ...this._view, ...this._ended } : this._view;
    return view && <OutputView view={view} trans={this._trans} />;
  }

  private _onChanged(): void {
    const ended = this._known();
    if (ended?.state !== this._ended?.state || ended?.step !== this._ended?.step) {
      this._ended = ended;
      this.update();
    }
  }

  /** What a run that is shown as running has come to: its last message may lack its last steps. */
  private _known(): Pick<IRunView, 'state' | 'step'> | null {
    const last = this._follower?.situation.view;
    const stopped = this._view?.state === 'running' && last?.path === this._view.path && last.state !== 'running';
    return stopped ? { state: last.state, step: last.step } : null;
  }

  private _ended: Pick<IRunView, 'state' | 'step'> | null = null;
  private _view: IRunView | null = null;
}
