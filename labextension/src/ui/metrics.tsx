/** The metrics: last value and course of each, small and readable. */

import * as React from 'react';
import { ICurve, IDrawing, draw, nearest } from '../curves';
import { IDetail } from '../server';
import { IRunView, Value } from '../run';
import { count, short, value } from '../words';
import { Said, Section, useFirst } from './parts';
import { useScope } from './scope';

const FIRST = 8;
const WIDTH = 300;
const HEIGHT = 44;

export function Metrics({ view, detail }: { view: IRunView; detail: IDetail | null }): JSX.Element | null {
  const { trans } = useScope();
  const [log, setLog] = React.useState(false);
  const whole = React.useRef(false); // once it was, the server is at most some rows behind
  const curves = all(view, detail);
  const lasts = new Map(view.metrics.map(metric => [metric.name, metric.last])); // the kernel's are newer
  const [shown, more] = useFirst(curves, FIRST);
  if (!curves.length) {
    return null;
  }
  whole.current ||= detail !== null && detail.loaded >= 1;
  const reading = detail !== null && !whole.current;
  return (
    <Section
      title={trans.__('Metrics')}
      count={curves.length + (detail?.more.metrics ?? view.more.metrics)}
      extra={
        <label className="jp-Resume-switch">
          <input type="checkbox" checked={log} onChange={event => setLog(event.target.checked)} />
          {trans.__('log scale')}
        </label>
      }
    >
      {reading && (
        <div className="jp-Resume-progress">
          <progress value={detail.loaded} max={1} aria-label={trans.__('Reading the history')} />
          <span>{trans.__('reading the history')}</span>
        </div>
      )}
      {shown.map(curve => (
        <Curve key={curve.name} curve={curve} last={lasts.get(curve.name) ?? curve.last} log={log} />
      ))}
      {more}
    </Section>
  );
}

/** The curves that the server knows, and of the view those that it does not; each as it was if it did not move. */
function all(view: IRunView, detail: IDetail | null): ICurve[] {
  const known = detail?.curves ?? new Map<string, ICurve>();
  const others = view.metrics.filter(metric => !known.has(metric.name));
  const order = new Map(view.metrics.map((metric, n) => [metric.name, n]));
  const place = (curve: ICurve) => order.get(curve.name) ?? Infinity;
  return [
    ...known.values(),
    ...others.map(({ name, last, points }) => ({ name, last, steps: points.map((_, n) => n), values: points, exact: false }))
  ].sort((one, other) => place(one) - place(other) || 0);
}

const Curve = React.memo(function Curve({ curve, last, log }: { curve: ICurve; last: Value; log: boolean }): JSX.Element {
  const { trans } = useScope();
  const [at, setAt] = React.useState<number | null>(null);
  const box = React.useRef<HTMLDivElement>(null);
  const seen = useSeen(box);
  const known = React.useRef<IDrawing | null>(null); // as it was drawn when it was last in sight
  const drawing = React.useMemo(
    () => (seen ? (known.current = draw(curve, WIDTH, HEIGHT, log)) : known.current),
    [seen && curve, seen, log]
  );
  const pointed = drawing && at !== null ? nearest(curve, drawing.first + at * (drawing.last - drawing.first)) : null;
  const onMove = (event: React.PointerEvent) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    setAt(width ? Math.min(1, Math.max(0, (event.clientX - left) / width)) : null);
  };
  const rule = drawing && pointed && drawing.last > drawing.first ? (pointed.step - drawing.first) / (drawing.last - drawing.first) : 0.5;
  const drawn = drawing !== null && curve.values.length > 1;
  return (
    <div className="jp-Resume-metric" ref={box}>
      <div className="jp-Resume-metricLine">
        <span className="jp-Resume-metricName">
          <Said text={curve.name} width={80} />
        </span>
        <span className="jp-Resume-metricValue">
          {pointed ? (
            <>
              <small>{curve.exact && trans.__('step %1', count(pointed.step))}</small> {value(pointed.value)}
            </>
          ) : (
            <bdi>{value(last)}</bdi>
          )}
        </span>
      </div>
      {drawn && (
        <>
          <svg
            className="jp-Resume-curve"
            viewBox={`0 -2 ${WIDTH} ${HEIGHT + 4}`}
            preserveAspectRatio="none"
            role="img"
            aria-label={trans.__(
              '%1: lowest %2, highest %3, last %4',
              short(curve.name, 80),
              value(drawing.low),
              value(drawing.high),
              value(last)
            )}
            onPointerMove={onMove}
            onPointerLeave={() => setAt(null)}
          >
            <Lines lines={drawing.lines} />
            {pointed && at !== null && (
              <line x1={rule * WIDTH} x2={rule * WIDTH} y1={-2} y2={HEIGHT + 2} vectorEffect="non-scaling-stroke" />
            )}
          </svg>
          <div className="jp-Resume-range" aria-hidden="true">
            <span>
              {drawing.low === drawing.high
                ? trans.__('constant')
                : trans.__('%1 to %2', value(drawing.low), value(drawing.high))}
            </span>
            {curve.exact && <span>{trans.__('steps %1–%2', count(drawing.first), count(drawing.last))}</span>}
          </div>
        </>
      )}
      {!drawing && !seen && <div className="jp-Resume-curve" />}
      {!drawn && seen && log && curve.values.length > 1 && <p className="jp-Resume-pale">{trans.__('No value above 0 to draw on a log scale.')}</p>}
    </div>
  );
});

const Lines = React.memo(function Lines({ lines }: { lines: string[] }): JSX.Element {
  return (
    <>
      {lines.map((points, n) => (
        <polyline key={n} points={points} vectorEffect="non-scaling-stroke" />
      ))}
    </>
  );
});

/** Whether a part is in sight: what is not need not be drawn. */
function useSeen(part: React.RefObject<HTMLElement>): boolean {
  const [seen, setSeen] = React.useState(false);
  React.useEffect(() => {
    if (!part.current) {
      return undefined;
    }
    const observer = new IntersectionObserver(entries => setSeen(entries.some(entry => entry.isIntersecting)));
    observer.observe(part.current);
    return () => observer.disconnect();
  }, [part]);
  return seen;
}
