/** The sidebar's content: the run of the notebook in front, its death if it died, and past runs. */

import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { IDisposable } from '@lumino/disposable';
import { Message } from '@lumino/messaging';
import * as React from 'react';
import { ISituation } from '../follow';
import { carried } from '../identity';
import { IFile, IRunView } from '../run';
import { clock, short } from '../words';
import { Config } from './config';
import { Death } from './death';
import { Files, Restored } from './files';
import { Head } from './head';
import { Metrics } from './metrics';
import { Notes } from './notes';
import { Button, Notice } from './parts';
import { Runs } from './runs';
import { IScope, Scope, useScope } from './scope';

export class Sidebar extends ReactWidget {
  constructor(private readonly _scope: IScope) {
    super();
    this.addClass('jp-Resume');
  }

  protected render(): JSX.Element {
    const { follower, recoveries } = this._scope;
    return (
      <Scope.Provider value={this._scope}>
        <UseSignal signal={follower.changed}>
          {() =>
            recoveries ? (
              <UseSignal signal={recoveries.changed}>{() => <Content situation={follower.situation} />}</UseSignal>
            ) : (
              <Content situation={follower.situation} />
            )
          }
        </UseSignal>
      </Scope.Provider>
    );
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._look();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._look();
  }

  protected onBeforeHide(message: Message): void {
    this._lookAway();
    super.onBeforeHide(message);
  }

  protected onBeforeDetach(message: Message): void {
    this._lookAway();
    super.onBeforeDetach(message);
  }

  protected onActivateRequest(): void {
    this.node.tabIndex = -1;
    this.node.focus();
  }

  private _look(): void {
    if (this.isVisible && !this._viewing) {
      this._viewing = this._scope.follower.view();
    }
  }

  private _lookAway(): void {
    this._viewing?.dispose();
    this._viewing = null;
  }

  private _viewing: IDisposable | null = null;
}

function Content({ situation }: { situation: ISituation }): JSX.Element {
  const { watch, view, detail, chosen, standing } = situation;
  const listed = standing !== 'absent' && standing !== 'older' && standing !== 'new';
  const died = !chosen && (situation.death !== null || situation.resumable);
  return (
    <>
      <Trouble situation={situation} />
      {died && <Death situation={situation} />}
      {view && <Run key={view.path} view={view} situation={situation} />}
      {!view && (watch ? <NoRun situation={situation} /> : <NoNotebook />)}
      {listed && <Runs situation={situation} />}
      {view && detail && <div className="jp-Resume-foot" />}
    </>
  );
}

function Run({ view, situation }: { view: IRunView; situation: ISituation }): JSX.Element {
  const { watch, detail } = situation;
  const notebook = watch?.path ?? null;
  const files: readonly IFile[] =
    detail?.files ?? view.files.map(([name, size]) => ({ name, size, step: null, saved_at: null }));
  return (
    <>
      <Head situation={situation} view={view} />
      <Metrics view={view} detail={detail} />
      {detail && <Files run={view.path} files={files} more={detail.more.files} notebook={notebook} />}
      <Restored view={view} />
      <Notes run={view.path} notes={detail?.notes ?? view.notes} editable={detail !== null} />
      {detail && <Config config={detail.config} more={detail.more.config} />}
    </>
  );
}

function Trouble({ situation }: { situation: ISituation }): JSX.Element | null {
  const { trans, follower, execute } = useScope();
  const again = <Button onClick={() => follower.refresh()}>{trans.__('Try again')}</Button>;
  const { said, heard } = situation;
  switch (situation.standing) {
    case 'offline':
      return (
        <Notice kind="trouble" action={again}>
          {heard
            ? trans.__('The Jupyter server does not answer; this is how things stood at %1.', clock(heard))
            : trans.__('The Jupyter server does not answer.')}
        </Notice>
      );
    case 'absent':
      return (
        <Notice
          kind="trouble"
          action={
            <Button onClick={() => void execute('jupyter-resume:copy', { text: 'jupyter server extension enable jupyter_resume.lab' })}>
              {trans.__('Copy the command that enables it')}
            </Button>
          }
        >
          {trans.__('Only what the kernel shows is here: this server runs without the jupyter_resume.lab extension.')}
        </Notice>
      );
    case 'older':
      return (
        <Notice
          kind="trouble"
          action={
            <Button onClick={() => void execute('jupyter-resume:copy', { text: 'pip install --upgrade jupyter-resume' })}>
              {trans.__('Copy the command that updates it')}
            </Button>
          }
        >
          {trans.__('Only what the kernel shows is here: the server runs jupyter-resume %1, which is too old.', short(said, 20))}
        </Notice>
      );
    case 'broken':
      return (
        <Notice kind="trouble" action={again}>
          {trans.__('The Jupyter server cannot tell of runs: %1', short(said, 300))}
        </Notice>
      );
    case 'refused':
      return (
        <Notice kind="trouble" action={again}>
          {short(said, 300)}
        </Notice>
      );
    default:
      return null;
  }
}

function NoRun({ situation }: { situation: ISituation }): JSX.Element | null {
  const { trans, execute } = useScope();
  const { standing, known, watch } = situation;
  if (!known && standing !== 'absent' && standing !== 'older') {
    const asking = standing === 'new' || standing === 'fine';
    return asking ? <Notice>{trans.__("Looking for this notebook's run…")}</Notice> : null;
  }
  const last = carried(watch?.panel)?.run ?? null;
  return (
    <Notice
      action={
        <Button primary onClick={() => void execute('jupyter-resume:begin')}>
          {trans.__('Insert a cell that begins one')}
        </Button>
      }
    >
      {last === null
        ? trans.__('This notebook has no run yet.')
        : known
          ? trans.__("This notebook has no run here yet: %1 was its last, or its original's.", short(last, 200))
          : trans.__('The run of this notebook, %1, is seen once its kernel shows it.', short(last, 200))}
    </Notice>
  );
}

function NoNotebook(): JSX.Element {
  const { trans, execute } = useScope();
  return (
    <Notice action={<Button onClick={() => void execute('notebook:create-new')}>{trans.__('New notebook')}</Button>}>
      {trans.__('Open a notebook to see its run here.')}
    </Notice>
  );
}
