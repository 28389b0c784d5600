/** The files of a run, to be restored beside the notebook or downloaded; and what was restored already. */

import * as React from 'react';
import { IFile, IRunView } from '../run';
import * as server from '../server';
import { age, clock, count, short, size } from '../words';
import { Button, Said, Section, useFirst } from './parts';
import { useScope } from './scope';

const FIRST = 6;

/** What came of a file: being brought back, there, in the way of another, or not to be had. */
type Outcome = { state: 'busy' | 'there' | 'differs' | 'failed'; said: string };

export function Files(props: { run: string; files: readonly IFile[]; more: number; notebook: string | null }): JSX.Element | null {
  const { trans } = useScope();
  const newest = React.useMemo(() => [...props.files].reverse(), [props.files]);
  const [shown, more] = useFirst(newest, FIRST);
  if (!newest.length) {
    return null;
  }
  return (
    <Section title={trans.__('Files')} count={newest.length + props.more}>
      <ul className="jp-Resume-list">
        {shown.map(file => (
          <File key={file.name} file={file} run={props.run} notebook={props.notebook} />
        ))}
      </ul>
      {more}
    </Section>
  );
}

function File({ file, run, notebook }: { file: IFile; run: string; notebook: string | null }): JSX.Element {
  const { trans } = useScope();
  const [outcome, setOutcome] = React.useState<Outcome | null>(null);
  const bring = async (replace: boolean) => {
    setOutcome({ state: 'busy', said: trans.__('Restoring…') });
    try {
      const said = await server.restore(run, file.name, notebook ?? '', replace);
      setOutcome({ state: 'there', said: said || trans.__('Restored beside the notebook, verified.') });
    } catch (error) {
      const differs = error instanceof server.ServerError && error.kind === 'LocalFileDiffers';
      setOutcome(
        differs
          ? { state: 'differs', said: trans.__('Another file of this name is beside the notebook.') }
          : { state: 'failed', said: error instanceof Error ? error.message : String(error) }
      );
    }
  };
  const name = short(file.name, 80);
  return (
    <li className="jp-Resume-file">
      <div className="jp-Resume-fileText">
        <span className="jp-Resume-fileName">
          <Said text={file.name} width={200} />
        </span>
        <span className="jp-Resume-pale" title={file.saved_at ? clock(file.saved_at) : undefined}>
          {[
            size(file.size),
            file.step === null || file.step < 0 ? '' : trans.__('step %1', count(file.step)),
            file.saved_at ? age(file.saved_at, trans) : ''
          ]
            .filter(Boolean)
            .join(' · ')}
        </span>
      </div>
      <div className="jp-Resume-actions">
        {notebook !== null && (
          <Button label={trans.__('Restore %1', name)} disabled={outcome?.state === 'busy'} onClick={() => void bring(false)}>
            {trans.__('Restore')}
          </Button>
        )}
        <a
          className="jp-Resume-button"
          href={server.fileAddress(run, file.name)}
          download={file.name.split('/').pop()}
          aria-label={trans.__('Download %1', name)}
          title={trans.__('Download %1', name)}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M8 2v8M4.5 7 8 10.5 11.5 7M3 13.5h10" />
          </svg>
        </a>
      </div>
      <div className="jp-Resume-outcome" role="status">
        {outcome && <span className={`jp-mod-${outcome.state}`}>{short(outcome.said, 400)}</span>}
        {outcome?.state === 'differs' && (
          <span className="jp-Resume-actions">
            <Button onClick={() => void bring(true)}>{trans.__('Replace it')}</Button>
            <Button onClick={() => setOutcome(null)}>{trans.__('Keep it')}</Button>
          </span>
        )}
      </div>
    </li>
  );
}

/** What the run has brought back itself, and what it could not. */
export function Restored({ view }: { view: IRunView }): JSX.Element | null {
  const { trans } = useScope();
  const [restored, more] = useFirst(view.restored, FIRST);
  if (!view.restored.length && !view.not_restored.length) {
    return null;
  }
  return (
    <Section title={trans.__('Restored')} count={view.restored.length}>
      <ul className="jp-Resume-list">
        {view.not_restored.map(([name, why]) => (
          <li key={name} className="jp-Resume-bad">
            <b>{trans.__('Not restored:')}</b> <Said text={`${name}: ${why}`} width={400} />
          </li>
        ))}
        {restored.map(text => (
          <li key={text}>
            <Said text={text} width={300} />
          </li>
        ))}
      </ul>
      {more}
    </Section>
  );
}
