/** Which cells are run again to resume: a pure function of the notebook's cells. */

/** The tag by which a user chooses the cells. */
export const TAG = 'resume';

export interface ICell {
  id: string;
  code: boolean;
  source: string;
  tags: readonly string[];
}

export interface IPlan {
  /** How the cells were chosen: by their tag, by the cell that was running, or all for want of both. */
  by: 'tag' | 'running' | 'all';
  cells: readonly ICell[];
}

/**
 * The cells to run, in order: those tagged `resume`, else from the top to the cell that was running.
 *
 * Empty cells are left out, so that a plan shows what will happen and nothing else.
 */
export function plan(cells: readonly ICell[], running: string | null): IPlan {
  const code = cells.filter(cell => cell.code && cell.source.trim() !== '');
  const tagged = code.filter(cell => cell.tags.includes(TAG));
  if (tagged.length) {
    return { by: 'tag', cells: tagged };
  }
  const last = code.findIndex(cell => cell.id === running);
  return last < 0 ? { by: 'all', cells: code } : { by: 'running', cells: code.slice(0, last + 1) };
}
