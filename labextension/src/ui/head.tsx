/** The run in short: name, state, step, time, progress. */

import * as React from 'react';
import { ISituation } from '../follow';
import { IRunView } from '../run';
import { age, clock, count, duration, short } from '../words';
import { Button, Said, State } from './parts';
import { useScope } from './scope';

export function Head({ situation, view }: { situation: ISituation; view: IRunView }): JSX.Element {
  const { trans, follower, execute } = useScope();
  const { chosen } = situation;
  const { total } = view;
  return (
    <header className="jp-Resume-head">
      {chosen && (
        <div className="jp-Resume-back">
          <Button onClick={() => follower.choose(null)}>{trans.__("← This notebook's run")}</Button>
        </div>
      )}
      <h2 className="jp-Resume-name">
        <Said text={view.name} />
      </h2>
      <div className="jp-Resume-path">
        <Said text={view.path} width={300} />
        <button
          type="button"
          className="jp-Resume-quiet"
          title={trans.__('Copy the path of the run')}
          aria-label={trans.__('Copy the path of the run')}
          onClick={() => void execute('jupyter-resume:copy', { text: view.path })}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" />
          </svg>
        </button>
      </div>
      <div className="jp-Resume-stateLine" aria-live="polite">
        <State of={view.state} worded />
        <span className="jp-Resume-origin">{begun(view, trans)}</span>
      </div>
      {view.resumed && view.reason && <div className="jp-Resume-reason">{short(view.reason, 200)}</div>}
      <dl className="jp-Resume-numbers">
        <div>
          <dt>{view.state === 'running' ? trans.__('Step') : trans.__('Next step')}</dt>
          <dd className="jp-Resume-step">{count(view.step)}</dd>
        </div>
        <div>
          <dt>{trans.__('Time')}</dt>
          <dd>{duration(view.elapsed)}</dd>
        </div>
        <div>
          <dt>{trans.__('Last seen')}</dt>
          <dd title={clock(view.at)}>{age(view.at, trans)}</dd>
        </div>
      </dl>
      {total !== null && total > 0 && (
        <div className="jp-Resume-progress">
          <progress value={Math.min(view.step, total)} max={total} aria-label={trans.__('Progress')} />
          <span>
            {trans.__('%1 of %2 steps', count(view.step), count(total))}
          </span>
        </div>
      )}
      {(view.server || view.url) && (
        <p className="jp-Resume-server">
          {view.server && <Said text={view.server} width={400} />}
          {view.url && (
            <a href={view.url} target="_blank" rel="noopener noreferrer" title={short(view.url, 300)}>
              {trans.__('Open its page')}
            </a>
          )}
        </p>
      )}
      {view.waiting > 0 && (
        <p className="jp-Resume-warning">
          {trans._n('%1 line waits in memory: the disk takes none.', '%1 lines wait in memory: the disk takes none.', view.waiting)}
        </p>
      )}
    </header>
  );
}

function begun(view: IRunView, trans: ReturnType<typeof useScope>['trans']): string {
  if (!view.resumed) {
    return trans.__('new run');
  }
  return view.starting_step ? trans.__('resumed at step %1', count(view.starting_step)) : trans.__('resumed');
}
