/** The configuration of a run: names and values. */

import * as React from 'react';
import { Said, Section, useFirst } from './parts';
import { useScope } from './scope';

const FIRST = 30;

export function Config({ config, more }: { config: readonly [string, unknown][]; more: number }): JSX.Element | null {
  const { trans } = useScope();
  const [shown, rest] = useFirst(config, FIRST);
  if (!config.length) {
    return null;
  }
  return (
    <Section title={trans.__('Config')} count={config.length + more} open={config.length <= 8}>
      <dl className="jp-Resume-config">
        {shown.map(([name, value]) => (
          <div key={name}>
            <dt>
              <Said text={name} width={80} />
            </dt>
            <dd>
              <Said text={plain(value)} width={200} />
            </dd>
          </div>
        ))}
      </dl>
      {rest}
    </Section>
  );
}

function plain(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}
