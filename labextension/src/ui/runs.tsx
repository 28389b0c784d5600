/** Past runs: this notebook's, its project's or all, to be searched, looked at and resumed. */

import { Poll } from '@lumino/polling';
import * as React from 'react';
import { ISituation } from '../follow';
import { asOpen } from '../identity';
import { IRunRow, IRunView } from '../run';
import * as server from '../server';
import { age, clock, count } from '../words';
import { Button, Said, Section, State } from './parts';
import { askAndResume } from './planned';
import { useScope } from './scope';

type Reach = 'notebook' | 'project' | 'all';
const PERIOD = 5000;
const PAGE = 50;
const SETTLED = 200; // milliseconds without a key before a search is sent

export function Runs({ situation }: { situation: ISituation }): JSX.Element {
  const { trans } = useScope();
  const { watch, view } = situation;
  const [entity, project] = (view?.path ?? '').split('/');
  const [chosen, setReach] = React.useState<Reach>('notebook');
  const reach: Reach = !watch ? 'all' : chosen === 'project' && !project ? 'notebook' : chosen;
  const [typed, setTyped] = React.useState('');
  const q = useSettled(typed.trim(), SETTLED);
  const asked = React.useMemo<server.IRunsAsked>(
    () => ({
      ...(watch ? server.ofNotebook(asOpen(watch.panel)) : {}),
      ...(reach === 'notebook' ? { only: 'mine' } : {}),
      ...(reach === 'project' ? { entity, project } : {}),
      q
    }),
    [reach, watch, watch?.path, entity, project, q]
  );
  const { rows, total, trouble, more } = useRuns(asked);
  const reaches: [Reach, string][] = [
    ...(watch ? [['notebook', trans.__('This notebook')] as [Reach, string]] : []),
    ...(watch && project ? [['project', trans.__('Project')] as [Reach, string]] : []),
    ['all', trans.__('All')]
  ];
  return (
    <Section title={trans.__('Runs')} count={rows ? total : undefined}>
      <div className="jp-Resume-filter">
        {reaches.length > 1 && (
          <div className="jp-Resume-reach" role="group" aria-label={trans.__('Whose runs')}>
            {reaches.map(([name, words]) => (
              <button key={name} type="button" aria-pressed={reach === name} onClick={() => setReach(name)}>
                {words}
              </button>
            ))}
          </div>
        )}
        <input
          type="search"
          className="jp-Resume-search"
          placeholder={trans.__('Search runs')}
          aria-label={trans.__('Search runs by name or id')}
          maxLength={200}
          value={typed}
          onChange={event => setTyped(event.target.value)}
        />
      </div>
      {trouble && !rows && situation.standing === 'fine' && <p className="jp-Resume-pale">{trans.__('The runs cannot be listed: %1', trouble)}</p>}
      {!rows && !trouble && <p className="jp-Resume-pale">{trans.__('Looking for runs…')}</p>}
      {rows?.length === 0 && (
        <p className="jp-Resume-pale">{q ? trans.__('No run matches.') : trans.__('No runs yet.')}</p>
      )}
      <ul className="jp-Resume-list jp-Resume-runs" aria-label={trans.__('Runs')}>
        {rows?.map(row => (
          <Run key={row.path} row={row} situation={situation} {...now(row, view)} />
        ))}
      </ul>
      {rows && rows.length < total && (
        <button type="button" className="jp-Resume-more" onClick={more}>
          {trans.__('Show %1 more', Math.min(PAGE, total - rows.length))}
        </button>
      )}
    </Section>
  );
}

/** State and last step of a run in the list: of the one that is shown above, as it is shown there. */
function now(row: IRunRow, view: IRunView | null): { state: string; last: number } {
  return view?.path === row.path ? { state: view.state, last: view.step - 1 } : { state: row.state, last: row.last_step };
}

interface IRunProps {
  row: IRunRow;
  situation: ISituation;
  state: string;
  last: number;
}

const Run = React.memo(
  function Run({ row, situation, state, last }: IRunProps): JSX.Element {
    const { trans, follower, recoveries, execute } = useScope();
    const { watch, view } = situation;
    const shown = view?.path === row.path;
    const notebook = row.origin?.path ?? null;
    const here = watch !== null && (row.mine || notebook === watch.path);
    return (
      <li className={`jp-Resume-run${shown ? ' jp-mod-shown' : ''}`}>
        <State of={state} />
        <button
          type="button"
          className="jp-Resume-runName"
          aria-current={shown ? 'true' : undefined}
          title={trans.__('Look at this run')}
          onClick={() => follower.choose(row.path)}
        >
          <span>
            <Said text={row.name} width={80} />
          </span>
          <small title={clock(row.updated)}>
            {last < 0 ? trans.__('no steps') : trans.__('step %1', count(last))} · {age(row.updated, trans)}
            {!here && row.origin && (
              <>
                {' · '}
                <Said text={row.origin.label} width={60} />
              </>
            )}
          </small>
        </button>
        {row.resumable && here && recoveries && (
          <Button
            label={trans.__('Resume %1', row.name.slice(0, 80))}
            onClick={() => void (watch && askAndResume(watch, recoveries, trans, row))}
          >
            {trans.__('Resume')}
          </Button>
        )}
        {row.resumable && !here && notebook !== null && (
          <Button
            label={trans.__('Open %1', notebook)}
            onClick={() => void execute('docmanager:open', { path: notebook })}
          >
            {trans.__('Open')}
          </Button>
        )}
      </li>
    );
  },
  (before, after) =>
    before.row === after.row &&
    before.state === after.state &&
    before.last === after.last &&
    before.situation.watch === after.situation.watch &&
    before.situation.view?.path === after.situation.view?.path
);

/** A value once it has stood still. */
function useSettled<T>(value: T, delay: number): T {
  const [settled, setSettled] = React.useState(value);
  React.useEffect(() => {
    const timer = setTimeout(() => setSettled(value), delay);
    return () => clearTimeout(timer);
  }, [value, delay]);
  return settled;
}

/** The runs that were asked for so far; the first of them are kept up to date while they are seen. */
function useRuns(asked: server.IRunsAsked): { rows: IRunRow[] | null; total: number; trouble: string; more: () => void } {
  const { follower } = useScope();
  const [list, setList] = React.useState<server.IRunsPage | null>(null);
  const [trouble, setTrouble] = React.useState('');
  const wanted = React.useRef(asked);
  wanted.current = asked;
  React.useEffect(() => {
    let tag = '';
    setList(null);
    const poll = new Poll({
      name: 'jupyter-resume:runs',
      factory: async () => {
        try {
          const answer = await server.runs(asked, 0, PAGE, tag);
          const { fresh } = answer;
          if (fresh && wanted.current === asked) {
            tag = answer.tag;
            setList(before => joined(fresh, before));
          }
          setTrouble('');
        } catch (error) {
          setTrouble(error instanceof Error ? error.message : String(error));
          throw error;
        }
      },
      frequency: { interval: PERIOD, backoff: true, max: 60_000 },
      standby: () => document.hidden || !follower.viewed
    });
    return () => poll.dispose();
  }, [asked, follower]);
  const more = () =>
    void server.runs(asked, list?.rows.length ?? 0, PAGE, '').then(
      ({ fresh }) => fresh && wanted.current === asked && setList(before => (before ? joined(before, fresh) : fresh)),
      error => setTrouble(String(error))
    );
  return { rows: list?.rows ?? null, total: list?.total ?? 0, trouble, more };
}

/** Two pages as one: what the second repeats is left out, and rows that did not change are the same objects. */
function joined(first: server.IRunsPage, second: server.IRunsPage | null): server.IRunsPage {
  const known = new Map(second?.rows.map(row => [row.path, row]));
  const rows = first.rows.map(row => {
    const old = known.get(row.path);
    return old && JSON.stringify(old) === JSON.stringify(row) ? old : row;
  });
  const paths = new Set(rows.map(row => row.path));
  return { total: first.total, rows: [...rows, ...(second?.rows.filter(row => !paths.has(row.path)) ?? [])] };
}
