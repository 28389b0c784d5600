/** A run in a cell's output. */

import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';
import { IRunView, readView } from '../run';
import { OutputView } from './outputView';

export class Output extends ReactWidget implements IRenderMime.IRenderer {
  constructor(
    private readonly _mime: string,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-Resume-output');
  }

  /** Show what a message says; what is none of ours stays unshown. */
  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._view = readView(model.data[this._mime]);
    this.update();
    return this.renderPromise ?? Promise.resolve();
  }

  protected render(): JSX.Element | null {
    return this._view && <OutputView view={this._view} trans={this._trans} />;
  }

  private _view: IRunView | null = null;
}
