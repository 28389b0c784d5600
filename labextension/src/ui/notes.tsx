/** The notes of a run, to be read and written. */

import * as React from 'react';
import * as server from '../server';
import { Button, Section } from './parts';
import { useScope } from './scope';

const LONGEST = 65_536;

export function Notes({ run, notes, editable }: { run: string; notes: string; editable: boolean }): JSX.Element {
  const { trans } = useScope();
  const [draft, setDraft] = React.useState<string | null>(null);
  const [said, setSaid] = React.useState('');
  const [kept, setKept] = React.useState<string | null>(null);
  const shown = kept ?? notes;
  const changed = draft !== null && draft !== shown;
  React.useEffect(() => {
    setKept(current => (current === notes ? null : current));
  }, [notes]);
  const save = async () => {
    if (draft === null) {
      return;
    }
    try {
      await server.setNotes(run, draft);
      setKept(draft);
      setDraft(null);
      setSaid(trans.__('Saved.'));
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
  };
  if (!editable) {
    return (
      <Section title={trans.__('Notes')} open={shown !== ''}>
        <p className="jp-Resume-notesText" dir="auto">
          {shown || trans.__('None.')}
        </p>
      </Section>
    );
  }
  return (
    <Section title={trans.__('Notes')}>
      <textarea
        className="jp-Resume-notes"
        aria-label={trans.__('Notes of this run')}
        placeholder={trans.__('What is this run about?')}
        dir="auto"
        rows={Math.min(8, Math.max(2, (draft ?? shown).split('\n').length))}
        maxLength={LONGEST}
        value={draft ?? shown}
        onChange={event => {
          setDraft(event.target.value);
          setSaid('');
        }}
        onKeyDown={event => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            void save();
          } else if (event.key === 'Escape' && changed) {
            event.stopPropagation();
            setDraft(null);
          }
        }}
      />
      <div className="jp-Resume-outcome" role="status">
        {said && <span>{said}</span>}
        {changed && (
          <span className="jp-Resume-actions">
            <Button primary onClick={() => void save()}>
              {trans.__('Save notes')}
            </Button>
            <Button onClick={() => setDraft(null)}>{trans.__('Discard')}</Button>
          </span>
        )}
      </div>
    </Section>
  );
}
