/** The small parts that the panel is made of. */

import * as React from 'react';
import { short, state as stateInWords } from '../words';
import { useScope } from './scope';

const ALWAYS_SEEN = 40; // characters that no list cuts off
const JOINTS = /[/_=-]+|\.(?=\D)/g; // a number is not broken

/** A text that a user wrote, which runs from right to left only within itself; a name is broken at its joints. */
export function Said({ text, width = 120 }: { text: string; width?: number }): JSX.Element {
  const shown = short(text, width);
  const parts = shown.replace(JOINTS, '$&\u200b').split('\u200b');
  return (
    <bdi title={shown === text && text.length <= ALWAYS_SEEN ? undefined : short(text, 1000)}>
      {parts.map((part, n) => (
        <React.Fragment key={n}>
          {n > 0 && <wbr />}
          {part}
        </React.Fragment>
      ))}
    </bdi>
  );
}

/** Each state has a shape of its own, so that no meaning hangs on a colour alone. */
const MARKS: Record<string, string> = {
  running: 'M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z',
  finished: 'M3 8.4 6.6 12 13 4.6',
  interrupted: 'M5.5 4v8M10.5 4v8',
  preempted: 'M5.5 4v8M10.5 4v8'
};
const CROSS = 'M4 4l8 8M12 4l-8 8';

/** A run's state as a mark; in words too if `worded`, else for screen readers only. */
export function State({ of, worded = false }: { of: string; worded?: boolean }): JSX.Element {
  const { trans } = useScope();
  const words = stateInWords(of, trans);
  const kind = of in MARKS ? of : 'ended';
  return (
    <span className="jp-Resume-state" title={worded ? undefined : words}>
      <svg className={`jp-Resume-mark jp-mod-${kind}`} viewBox="0 0 16 16" aria-hidden="true">
        <path d={MARKS[of] ?? CROSS} />
      </svg>
      <span className={worded ? 'jp-Resume-stateWords' : 'jp-Resume-unseen'}>{words}</span>
    </span>
  );
}

/** A part of the panel that can be folded away; `extra` stands at the right of its title. */
export function Section(props: {
  title: string;
  count?: number;
  open?: boolean;
  extra?: React.ReactNode;
  children: React.ReactNode;
}): JSX.Element {
  return (
    <details className="jp-Resume-section" open={props.open ?? true}>
      <summary>
        <h3>{props.title}</h3>
        {props.count !== undefined && <span className="jp-Resume-count">{props.count.toLocaleString()}</span>}
      </summary>
      {props.extra && <div className="jp-Resume-extra">{props.extra}</div>}
      <div className="jp-Resume-sectionBody">{props.children}</div>
    </details>
  );
}

/** A button that says what it does. */
export function Button(props: {
  onClick: () => void;
  children: React.ReactNode;
  primary?: boolean;
  label?: string;
  disabled?: boolean;
}): JSX.Element {
  return (
    <button
      type="button"
      className={`jp-Resume-button${props.primary ? ' jp-mod-styled jp-mod-accept' : ''}`}
      aria-label={props.label}
      title={props.label}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}

/** A state of the panel: one sentence, one action. */
export function Notice(props: {
  kind?: 'plain' | 'trouble';
  children: React.ReactNode;
  action?: React.ReactNode;
}): JSX.Element {
  return (
    <div className={`jp-Resume-notice jp-mod-${props.kind ?? 'plain'}`} role="status">
      <p>{props.children}</p>
      {props.action}
    </div>
  );
}

/** The first of a long list, and a button for more. */
export function useFirst<T>(all: readonly T[], first: number): [readonly T[], React.ReactNode] {
  const { trans } = useScope();
  const [most, setMost] = React.useState(first);
  const left = all.length - most;
  const more =
    left > 0 ? (
      <button type="button" className="jp-Resume-more" onClick={() => setMost(most + 100)}>
        {trans.__('Show %1 more', Math.min(left, 100))}
      </button>
    ) : null;
  return [all.slice(0, most), more];
}
