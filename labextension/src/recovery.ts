/** After a death: one resume at a time per notebook, asked for by a person or, if set so, by itself. */

import { NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator } from '@jupyterlab/translation';
import { ISignal, Signal } from '@lumino/signaling';
import { claim } from './claim';
import { IPlan } from './plan';
import { planNow, resume } from './resume';
import { IDeath, Watch } from './watch';

/** What the settings say; `pause` in seconds. */
export interface IAutomatic {
  on: boolean;
  limit: number;
  pause: number;
}

/** Seconds: no pause is longer, and after this long without a death, pauses not counted, the count starts anew. */
const LONGEST = 600;

/** How a notebook's recovery stands. */
export interface IRecovery {
  phase: 'offered' | 'counting' | 'waiting' | 'running' | 'failed';
  /** Why it failed. */
  why: string;
  /** When it goes on by itself, in Unix seconds. */
  due: number;
  /** Which attempt by itself this is, from 1; 0 before the first. */
  attempt: number;
}

/** What a resume is to be; see `Recoveries.resume`. */
export interface IWanted {
  cells?: IPlan;
  chosen?: string;
  alone?: boolean;
}

/** Nothing has been done about it. */
export const OFFERED: IRecovery = { phase: 'offered', why: '', due: 0, attempt: 0 };

/** Seconds to wait before an attempt: it doubles each time. */
export function pause(attempt: number, first: number): number {
  return Math.min(LONGEST, first * 2 ** (attempt - 1));
}

export class Recoveries {
  constructor(private readonly _translator: ITranslator) {}

  /** Emitted when the recovery of a notebook changed. */
  get changed(): ISignal<this, Watch> {
    return this._changed;
  }

  automatic: IAutomatic = { on: false, limit: 5, pause: 10 };

  of(watch: Watch): IRecovery {
    return this._all.get(watch.panel) ?? OFFERED;
  }

  /** Look after a notebook's deaths from now on. */
  attend(watch: Watch): void {
    let last: IDeath | null = null;
    watch.changed.connect(() => {
      const { death } = watch;
      const fresh = death !== null && death.at !== last?.at;
      last = death ?? last;
      if (fresh) {
        this._died(watch, death);
      } else if (death === null && this.of(watch).phase === 'counting') {
        this._cancel(watch);
      }
    });
    watch.panel.disposed.connect(() => this._stop(watch));
  }

  /**
   * Resume now. `cells`: those that were shown; `chosen`: the run that they shall continue, if it is not the
   * notebook's own; `alone`: only if no other page does.
   */
  async resume(watch: Watch, { cells, chosen, alone = false }: IWanted = {}): Promise<void> {
    const { phase } = this.of(watch);
    if (phase === 'waiting' || (phase === 'running' && !chosen)) {
      return;
    }
    this._stop(watch);
    this._set(watch, { phase: 'waiting', why: '' });
    try {
      await resume(watch, cells ?? (await planNow(watch, chosen)), {
        chosen,
        alone,
        translator: this._translator,
        onRunning: () => this._set(watch, { phase: 'running' })
      });
      if (this.of(watch).phase !== 'counting') {
        this._set(watch, { phase: 'offered' });
      }
    } catch (error) {
      // A cell that failed says so itself; it is for us to say only that the cells could not be run.
      const waiting = this.of(watch).phase === 'waiting';
      this._set(watch, waiting ? { phase: 'failed', why: String((error as Error).message ?? error) } : { phase: 'offered' });
    }
  }

  /** Do not go on by itself this time. */
  cancel(watch: Watch): void {
    this._cancel(watch);
  }

  private _died(watch: Watch, death: IDeath): void {
    this._stop(watch);
    const before = this._deaths.get(watch.panel);
    const steady = before === undefined || death.at - before.due > LONGEST;
    const attempt = steady ? 1 : before.attempt + 1;
    const { on, limit, pause: first } = this.automatic;
    if (!on || death.view?.state !== 'running') {
      this._set(watch, { phase: 'offered', why: '' });
      return;
    }
    const wait = attempt > limit ? 0 : pause(attempt, first);
    const due = Date.now() / 1000 + wait;
    this._deaths.set(watch.panel, { due, attempt });
    if (attempt > limit) {
      this._set(watch, { ...OFFERED, attempt });
      return;
    }
    this._set(watch, { phase: 'counting', why: '', due, attempt });
    this._timers.set(
      watch.panel,
      setTimeout(() => void this._goOn(watch, death), wait * 1000)
    );
  }

  /** By itself; in one tab only, if several have the notebook open. */
  private async _goOn(watch: Watch, death: IDeath): Promise<void> {
    if (watch.death?.at === death.at && (await claim(watch.path))) {
      await this.resume(watch, { alone: true });
    } else {
      this._cancel(watch);
    }
  }

  private _cancel(watch: Watch): void {
    this._stop(watch);
    this._set(watch, { phase: 'offered', due: 0 });
  }

  private _stop(watch: Watch): void {
    clearTimeout(this._timers.get(watch.panel));
    this._timers.delete(watch.panel);
  }

  private _set(watch: Watch, change: Partial<IRecovery>): void {
    this._all.set(watch.panel, { ...this.of(watch), ...change });
    this._changed.emit(watch);
  }

  private readonly _all = new WeakMap<NotebookPanel, IRecovery>();
  private readonly _deaths = new WeakMap<NotebookPanel, { due: number; attempt: number }>();
  private readonly _timers = new Map<NotebookPanel, ReturnType<typeof setTimeout>>();
  private _changed = new Signal<this, Watch>(this);
}
