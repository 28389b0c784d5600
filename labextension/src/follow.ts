/** Follows the run of the notebook in front: what the server says, with the kernel's own messages on top. */

import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';
import { asOpen } from './identity';
import { IRunView } from './run';
import * as server from './server';
import { IDeath, Watch } from './watch';

/** How the server stands to us; `new` before it was asked. */
export type Standing = 'new' | 'fine' | server.Trouble;

/** Milliseconds between two looks: while the server reads a long history, while a run moves, and else. */
const LOADING = 100;
const MOVING = 1000;
const RESTING = 5000;
/** Seconds in which the server may not know yet that a run began to move. */
const LATE = 3;
/** Looks at a run that moves between two looks at whether it still is the notebook's. */
const SELDOM = 5;

/** All that the panel shows, at one moment. */
export interface ISituation {
  watch: Watch | null;
  standing: Standing;
  /** Why the server does not answer as it should, for a person. */
  said: string;
  /** When it last answered, in Unix seconds. */
  heard: number;
  /** Whether it is known which run the notebook has. */
  known: boolean;
  /** The run that is shown: the notebook's, or the one chosen from a list. */
  view: IRunView | null;
  detail: server.IDetail | null;
  death: IDeath | null;
  /** Whether the run is not the notebook's own but one that was chosen to be looked at. */
  chosen: boolean;
  /** Whether the run is unfinished and nobody writes it: it can be resumed in this notebook. */
  resumable: boolean;
}

export class Follower implements IDisposable {
  constructor(private readonly _tracker: INotebookTracker) {
    _tracker.widgetAdded.connect((_, panel) => this._add(panel));
    _tracker.forEach(panel => this._add(panel));
    _tracker.currentChanged.connect(this._onCurrent, this);
    this._poll = new Poll({
      name: 'jupyter-resume',
      auto: false,
      factory: () => this._look(),
      frequency: { interval: MOVING, backoff: true, max: 30_000 },
      standby: () => this._viewers === 0 || document.hidden
    });
    document.addEventListener('visibilitychange', this._onVisible);
    this._onCurrent();
  }

  /** Emitted when the situation changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Emitted for every notebook that is opened. */
  get opened(): ISignal<this, Watch> {
    return this._opened;
  }

  get watches(): Iterable<Watch> {
    return this._watches.values();
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  get situation(): ISituation {
    const watch = this._current;
    const detail = this._detail?.view.path === this._shown() ? this._detail : null;
    const death = this._chosen ? null : (watch?.death ?? null);
    const live = !this._chosen && watch?.live ? watch.live : null;
    // The page may have missed a death, asleep as it was: what nobody writes any more is as its record says.
    const left = detail !== null && !detail.row.live && this._asked > (watch?.heard ?? 0) + LATE;
    const view = merge(left ? null : live, detail?.view ?? null, death, this._asked);
    // The kernel may have said since that it goes on, or that it is done.
    const stopped = view !== null && view.state !== 'running' && view.state !== 'finished';
    return {
      watch,
      standing: this._standing,
      said: this._said,
      heard: this._heard,
      known: this._belonging !== null,
      view,
      detail,
      death: stopped ? death : null,
      chosen: this._chosen !== null,
      resumable: stopped && (detail ? detail.row.resumable : death !== null)
    };
  }

  /** The runs of the notebook in front, the first being the one that it would go on with. */
  get belonging(): server.IBelonging | null {
    return this._belonging;
  }

  /** Whether anyone looks. */
  get viewed(): boolean {
    return this._viewers > 0;
  }

  /** Someone looks: the server is asked from now on, until the result is disposed. */
  view(): IDisposable {
    this._viewers += 1;
    void this._poll.start();
    this.refresh();
    let over = false;
    return {
      get isDisposed() {
        return over;
      },
      dispose: () => {
        this._viewers -= over ? 0 : 1;
        over = true;
      }
    };
  }

  /** Look at another run than the notebook's own; null: at its own again. */
  choose(path: string | null): void {
    this._chosen = path;
    this._forget();
    this.refresh();
  }

  /** Ask the server now. */
  refresh(): void {
    this._turn = 0;
    if (this._viewers > 0) {
      void this._poll.refresh().catch(() => undefined);
    }
    this._changed.emit();
  }

  dispose(): void {
    if (!this.isDisposed) {
      document.removeEventListener('visibilitychange', this._onVisible);
      this._poll.dispose();
      this._watches.forEach(watch => watch.dispose());
      Signal.clearData(this);
    }
  }

  private _add(panel: NotebookPanel): void {
    if (this._watches.has(panel)) {
      return;
    }
    const watch = new Watch(panel);
    this._watches.set(panel, watch);
    watch.changed.connect(this._onWatch, this);
    panel.disposed.connect(() => {
      this._watches.delete(panel);
    });
    panel.context.pathChanged.connect(() => watch === this._current && this._onCurrent(true));
    this._opened.emit(watch);
  }

  private _onCurrent(again: unknown = false): void {
    const panel = this._tracker.currentWidget;
    if (panel) {
      this._add(panel); // it may be in front before it is announced
    }
    const watch = (panel && this._watches.get(panel)) || null;
    if (watch === this._current && again !== true) {
      return;
    }
    this._current = watch;
    this._chosen = null;
    this._belonging = null;
    this._belongingTag = '';
    this._forget();
    this.refresh();
  }

  private _onWatch(watch: Watch): void {
    if (watch !== this._current) {
      return;
    }
    const died = watch.death !== this._death;
    this._death = watch.death;
    const other = watch.live && !this._chosen && watch.live.path !== this._detail?.view.path;
    const ended = watch.live && watch.live.state !== this._liveState;
    this._liveState = watch.live?.state ?? '';
    const ran = watch.ran !== this._ran && !this._moving; // it may have begun a run without showing it
    this._ran = watch.ran;
    if (died || other || ended || ran) {
      this.refresh();
    } else {
      this._changed.emit();
    }
  }

  private _onVisible = (): void => {
    if (!document.hidden) {
      this.refresh();
    }
  };

  /** The path of the run to show. */
  private _shown(): string | null {
    return this._chosen ?? this._current?.live?.path ?? this._belonging?.run?.path ?? null;
  }

  private _forget(): void {
    this._detail = null;
    this._detailTag = '';
  }

  private async _look(): Promise<void> {
    const watch = this._current;
    try {
      if (this._standing !== 'fine') {
        await server.hello();
      }
      if (watch && (!this._moving || this._turn % SELDOM === 0)) {
        await this._askWhose(watch);
      }
      this._turn += 1;
      await this._askRun(watch);
      this._standing = 'fine';
      this._said = '';
      this._heard = Date.now() / 1000;
      this._pace();
    } catch (error) {
      this._standing = error instanceof server.ServerError ? error.trouble : 'broken';
      this._said = error instanceof Error ? error.message : String(error);
      throw error; // the poll backs off
    } finally {
      this._changed.emit();
    }
  }

  private async _askWhose(watch: Watch): Promise<void> {
    const answer = await server.belonging(asOpen(watch.panel), this._belongingTag);
    if (watch === this._current && answer.fresh) {
      this._belonging = answer.fresh;
      this._belongingTag = answer.tag;
    }
  }

  private async _askRun(watch: Watch | null): Promise<void> {
    const path = this._shown();
    if (path === null) {
      return;
    }
    const before = this._detail?.view.path === path ? this._detail : null;
    try {
      const asked = Date.now() / 1000;
      const answer = await server.run(path, before, before ? this._detailTag : '');
      if (watch === this._current && path === this._shown()) {
        this._asked = asked;
        if (answer.fresh) {
          this._detail = answer.fresh;
          this._detailTag = answer.tag;
        }
      }
    } catch (error) {
      if (!(error instanceof server.ServerError && error.kind === 'RunMissing')) {
        throw error; // else it is of another machine's store, or was deleted: there is none to show
      }
      this._forget();
    }
  }

  /** Whether the run that is shown is written just now. */
  private get _moving(): boolean {
    return this._detail?.row.live === true || this._current?.live?.state === 'running';
  }

  private _pace(): void {
    const loading = (this._detail?.loaded ?? 1) < 1;
    const interval = loading ? LOADING : this._moving ? MOVING : RESTING;
    if (this._poll.frequency.interval !== interval) {
      this._poll.frequency = { ...this._poll.frequency, interval };
    }
  }

  private readonly _poll: Poll;
  private readonly _watches = new Map<NotebookPanel, Watch>();
  private _viewers = 0;
  private _current: Watch | null = null;
  private _chosen: string | null = null;
  private _standing: Standing = 'new';
  private _said = '';
  private _heard = 0;
  private _turn = 0;
  private _belonging: server.IBelonging | null = null;
  private _belongingTag = '';
  private _detail: server.IDetail | null = null;
  private _detailTag = '';
  private _asked = 0;
  private _death: IDeath | null = null;
  private _liveState = '';
  private _ran = 0;
  private _changed = new Signal<this, void>(this);
  private _opened = new Signal<this, Watch>(this);
}

/**
 * One view of the kernel's last message and the record: the later one, but a dead kernel's word on its state is void.
 *
 * `asked` is when the record was last looked at: after a death it says what the run has come to.
 */
function merge(live: IRunView | null, recorded: IRunView | null, death: IDeath | null, asked: number): IRunView | null {
  if (death && recorded && asked > death.at) {
    return recorded.state === 'running' && death.view ? { ...recorded, state: 'crashed' } : recorded;
  }
  const same = live && recorded && live.path === recorded.path;
  const newest = same && recorded.at > live.at ? recorded : (live ?? recorded);
  return death && newest?.state === 'running' ? { ...newest, state: 'crashed' } : newest;
}
