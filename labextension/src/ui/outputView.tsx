/** A view of a run as a cell shows it: state, metrics with their courses, files. */

import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';
import { draw } from '../curves';
import { IMetric, IRunView } from '../run';
import { clock, count, duration, short, size, state, value } from '../words';

const MOST_METRICS = 12;
const MOST_FILES = 8;
const WIDTH = 120;
const HEIGHT = 16;
const COLOURS: Record<string, string> = { running: 'running', finished: 'good', failed: 'bad', crashed: 'bad' };

export function OutputView({ view, trans }: { view: IRunView; trans: TranslationBundle }): JSX.Element {
  const name = view.path.includes(view.name) ? '' : short(view.name, 60);
  const metrics = view.metrics.slice(0, MOST_METRICS);
  const hidden = view.metrics.length - metrics.length + view.more.metrics;
  const files = view.files.slice(-MOST_FILES);
  const hiddenFiles = view.files.length - files.length + view.more.files;
  const begun = !view.resumed
    ? trans.__('new')
    : `${view.starting_step ? trans.__('resumed at step %1', count(view.starting_step)) : trans.__('resumed')}${
        view.reason ? `: ${short(view.reason, 200)}` : ''
      }`;
  return (
    <div className={`jp-Resume-view jp-mod-${COLOURS[view.state] ?? 'ended'}`}>
      <div>
        <b>
          <bdi>{short(view.path, 400)}</bdi>
        </b>{' '}
        <bdi>{name}</bdi>
      </div>
      <div>
        <span className="jp-Resume-dot" aria-hidden="true">
          ●
        </span>{' '}
        <b>{state(view.state, trans).toLowerCase()}</b>
        {' · '}
        {trans.__('step')} <b>{count(view.step)}</b>
        {view.total !== null && view.total > 0 && ` ${trans.__('of %1', count(view.total))}`}
        {` · ${duration(view.elapsed)} · ${begun}`}
        <span className="jp-Resume-pale">{` · ${trans.__('as of %1', clock(view.at))}`}</span>
      </div>
      {view.total !== null && view.total > 0 && (
        <progress value={Math.min(view.step, view.total)} max={view.total} aria-label={trans.__('Progress')} />
      )}
      <table>
        <tbody>
          {metrics.map(metric => (
            <tr key={metric.name}>
              <th scope="row">
                <bdi>{short(metric.name, 60)}</bdi>
              </th>
              <td className="jp-Resume-figure">
                <bdi>{value(metric.last)}</bdi>
              </td>
              <td>
                <Spark metric={metric} trans={trans} />
              </td>
            </tr>
          ))}
          {facts().map(([label, text, bad], n) => (
            <tr key={n} className={bad ? 'jp-Resume-badFact' : undefined}>
              <th scope="row">{label}</th>
              <td colSpan={2}>
                <bdi>{text}</bdi>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );

  function facts(): [string, string, boolean?][] {
    const all: [string, string, boolean?][] = [];
    if (files.length) {
      const listed = files.map(([file, bytes]) => `${short(file, 60)} (${size(bytes)})`).join(', ');
      all.push([trans.__('files'), hiddenFiles ? trans.__('%1, and %2 more', listed, hiddenFiles) : listed]);
    }
    view.restored.slice(-MOST_FILES).forEach(text => all.push([trans.__('restored'), short(text, 300)]));
    view.not_restored
      .slice(-MOST_FILES)
      .forEach(([file, why]) => all.push([trans.__('not restored'), short(`${file}: ${why}`, 300), true]));
    if (view.waiting) {
      all.push([trans.__('waiting'), trans.__('%1 lines wait in memory: the disk takes none', count(view.waiting)), true]);
    }
    if (view.server) {
      all.push([trans.__('server'), short(view.server, 400)]);
    }
    if (view.url) {
      all.push([trans.__('page'), short(view.url, 400)]);
    }
    if (view.notes) {
      all.push([trans.__('notes'), short(view.notes, 200)]);
    }
    if (hidden > 0) {
      all.push([trans.__('more'), trans._n('%1 more metric', '%1 more metrics', hidden)]);
    }
    return all;
  }
}

function Spark({ metric, trans }: { metric: IMetric; trans: TranslationBundle }): JSX.Element | null {
  const { points } = metric;
  if (points.length < 2) {
    return null;
  }
  const curve = { ...metric, steps: points.map((_, n) => n), values: points, exact: false };
  const drawing = draw(curve, WIDTH, HEIGHT - 6, false);
  return (
    <svg
      width={WIDTH}
      height={HEIGHT}
      viewBox={`0 -3 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={trans.__('from %1 to %2', value(points[0]), value(points[points.length - 1]))}
    >
      {drawing?.lines.map((line, n) => (
        <polyline key={n} points={line} />
      ))}
    </svg>
  );
}
