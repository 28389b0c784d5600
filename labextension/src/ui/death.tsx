/** After a death: what it cost, and how to go on. */

import * as React from 'react';
import { ISituation } from '../follow';
import { IPlan } from '../plan';
import { IRecovery, OFFERED } from '../recovery';
import { planOf } from '../resume';
import { clock, count, short, size } from '../words';
import { Button, Said } from './parts';
import { Cells } from './planned';
import { useScope } from './scope';

export function Death({ situation }: { situation: ISituation }): JSX.Element | null {
  const { trans, recoveries } = useScope();
  const { watch, death, view, detail } = situation;
  const [, redraw] = React.useReducer((n: number) => n + 1, 0);
  const recovery = watch && recoveries ? recoveries.of(watch) : OFFERED;
  React.useEffect(() => {
    if (recovery.phase !== 'counting') {
      return undefined;
    }
    const timer = setInterval(redraw, 1000); // a countdown, not a poll
    return () => clearInterval(timer);
  }, [recovery.phase]);
  if (!watch || !view || recovery.phase === 'running') {
    return null;
  }
  const plan = planOf(watch, detail?.row ?? null);
  const lost = detail?.row.rows_lost;
  const file = detail?.row.last_file ?? null;
  const lastStep = detail ? detail.row.last_step : view.step - 1;
  return (
    <section className="jp-Resume-death" aria-label={trans.__('The run stopped')}>
      {/* Only this is announced: the rest changes while it counts down. */}
      <h3 aria-live="assertive">
        {death
          ? trans.__('The kernel died at %1.', clock(death.at))
          : view.state === 'crashed'
            ? trans.__('This run was cut off at step %1.', count(view.step))
            : trans.__('This run is not finished.')}
      </h3>
      <dl className="jp-Resume-numbers">
        <div>
          <dt>{trans.__('Last step')}</dt>
          <dd>{lastStep < 0 ? '–' : count(lastStep)}</dd>
        </div>
        <div>
          <dt>{trans.__('Rows lost')}</dt>
          <dd className="jp-Resume-lost">{lost === undefined ? '…' : count(lost)}</dd>
        </div>
      </dl>
      {file && (
        <p className="jp-Resume-lastFile">
          {trans.__('Last saved file:')} <Said text={file.name} width={100} /> ({size(file.size)}
          {file.step !== null && file.step >= 0 && <>, {trans.__('step %1', count(file.step))}</>})
        </p>
      )}
      <Answer situation={situation} plan={plan} recovery={recovery} />
      <Cells plan={plan} trans={trans} />
    </section>
  );
}

function Answer({ situation, plan, recovery }: { situation: ISituation; plan: IPlan; recovery: IRecovery }): JSX.Element {
  const { trans, recoveries } = useScope();
  const { watch } = situation;
  if (!recoveries) {
    return <p>{trans.__('Resuming is switched off here: run the cells below again to go on.')}</p>;
  }
  const go = () => void (watch && recoveries.resume(watch, { cells: plan }));
  const { limit } = recoveries.automatic;
  if (recovery.phase === 'waiting') {
    return <p aria-live="polite">{trans.__('Waiting for the kernel to come back…')}</p>;
  }
  if (recovery.phase === 'counting') {
    const left = Math.max(0, Math.ceil(recovery.due - Date.now() / 1000));
    return (
      <>
        <p>{trans.__('It resumes by itself in %1 s (attempt %2 of %3).', left, recovery.attempt, limit)}</p>
        <div className="jp-Resume-actions">
          <Button primary onClick={go}>
            {trans.__('Resume now')}
          </Button>
          <Button onClick={() => watch && recoveries.cancel(watch)}>{trans.__('Not by itself')}</Button>
        </div>
      </>
    );
  }
  return (
    <>
      {recovery.phase === 'failed' && (
        <p className="jp-Resume-warning">{trans.__('The kernel did not come back (%1).', short(recovery.why, 200))}</p>
      )}
      {recovery.attempt > limit && (
        <p className="jp-Resume-warning">
          {trans._n('It resumed by itself %1 time, and does not again.', 'It resumed by itself %1 times, and does not again.', limit)}
        </p>
      )}
      <div className="jp-Resume-actions">
        <Button primary onClick={go} disabled={!plan.cells.length}>
          {trans.__('Resume')}
        </Button>
      </div>
    </>
  );
}
