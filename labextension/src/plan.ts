/** Which cells are run again to resume: a pure function of the notebook's cells, and of the one that the run was in. */

import { IInCell } from './run';

/** The tag by which a user chooses the cells. */
export const TAG = 'resume';

export interface ICell {
  id: string;
  code: boolean;
  source: string;
  tags: readonly string[];
}

export interface IPlan {
  /**
   * How the cells were chosen: by their tag; by the cell that was running, or else the one in which the run moved last;
   * all as that one is not in the notebook, or as it is not known.
   */
  by: 'tag' | 'running' | 'last' | 'gone' | 'all';
  cells: readonly ICell[];
}

/**
 * The cells to run, in order: those tagged `resume`, else from the top to the one that the run was in.
 *
 * Empty cells are left out, so that a plan shows what will happen and nothing else.
 */
export function plan(cells: readonly ICell[], inCell: IInCell | null): IPlan {
  const code = cells.filter(cell => cell.code && cell.source.trim() !== '');
  const tagged = code.filter(cell => cell.tags.includes(TAG));
  if (tagged.length) {
    return { by: 'tag', cells: tagged };
  }
  if (!inCell) {
    return { by: 'all', cells: code };
  }
  const last = code.findIndex(cell => cell.id === inCell.id);
  return last < 0 ? { by: 'gone', cells: code } : { by: inCell.running ? 'running' : 'last', cells: code.slice(0, last + 1) };
}
