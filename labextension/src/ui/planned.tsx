/** What resuming will run: a list of cells, and a question before they are run. */

import { Dialog, ReactWidget, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';
import { IPlan } from '../plan';
import { Recoveries } from '../recovery';
import { free, planNow } from '../resume';
import { Watch } from '../watch';
import { short } from '../words';

const MOST_CELLS = 30;

/** The plan's cells, each by its first lines. */
export function Cells({ plan, trans }: { plan: IPlan; trans: TranslationBundle }): JSX.Element {
  const number = plan.cells.length;
  const why = {
    tag: trans._n('Resume runs the cell tagged “resume”:', 'Resume runs the %1 cells tagged “resume”:', number),
    running: trans._n('Resume runs the cell that was running:', 'Resume runs %1 cells, from the top to the one that was running:', number),
    last: trans._n(
      'Resume runs the cell in which the run moved last:',
      'Resume runs %1 cells, from the top to the one in which the run moved last:',
      number
    ),
    gone: trans._n(
      'Resume runs the one cell of this notebook, as the cell that the run was in is not there:',
      'Resume runs all %1 cells of this notebook, as the cell that the run was in is not there:',
      number
    ),
    all: trans._n('Resume runs the one cell of this notebook:', 'Resume runs all %1 cells, as it is not known which was running:', number)
  }[plan.by];
  return (
    <div className="jp-Resume-plan">
      <p>{number ? why : trans.__('There is no cell with code to run.')}</p>
      {number > 0 && (
        <ol>
          {plan.cells.slice(0, MOST_CELLS).map(cell => (
            <li key={cell.id}>
              <code title={short(cell.source, 500)}>{short(cell.source.trim().split('\n').slice(0, 2).join(' ⏎ '), 90)}</code>
            </li>
          ))}
        </ol>
      )}
      {number > MOST_CELLS && <p>{trans.__('and %1 more', number - MOST_CELLS)}</p>}
    </div>
  );
}

/** Show what resuming would run, and resume if that is wanted. `run`: which, if not the notebook's own. */
export async function askAndResume(
  watch: Watch,
  recoveries: Recoveries,
  trans: TranslationBundle,
  run?: { path: string; name: string }
): Promise<void> {
  const plan = await planNow(watch, run?.path);
  const busy = !free(watch.panel);
  const possible = !busy && plan.cells.length > 0;
  const no = Dialog.cancelButton({ label: possible ? trans.__('Cancel') : trans.__('Close') });
  const answer = await showDialog({
    title: run ? trans.__('Resume %1?', short(run.name, 80)) : trans.__('Resume the run of this notebook?'),
    body: ReactWidget.create(
      busy ? <p>{trans.__('The kernel is busy: wait for its cell to end, or interrupt it.')}</p> : <Cells plan={plan} trans={trans} />
    ),
    buttons: possible ? [no, Dialog.okButton({ label: trans.__('Resume') })] : [no]
  });
  if (answer.button.accept && possible) {
    await recoveries.resume(watch, { cells: plan, chosen: run?.path });
  }
}
