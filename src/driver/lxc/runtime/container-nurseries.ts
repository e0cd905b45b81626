/** Where a driver's containers come from: the kernel ends them with it, and it with us, or they outlive both. */
import { statSync } from 'node:fs';
import { LogSource } from '../../../core/log-source.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { type Announce, inheritedContext, Nursery, type SparePlace } from '../../../process/nursery.ts';
import type { NurseryChild, NurserySpec } from '../../../process/nursery-child.ts';
import { settingsPrograms } from '../plan/kernel-settings.ts';
import type { RuntimeName } from '../plan/oci-runtime.ts';
import { planNursery } from '../plan/outer-command.ts';
import { lookUpRuntime } from './host-facts.ts';
import { letBeRoot, readPerson } from './start-person.ts';

const log = new LogSource('lxc.lxc_process');

/** How long nobody starts anything before the next start is thought of. */
const REST_MS = 2;

interface Latest {
  readonly context: string;
  readonly opened: Promise<Nursery>;
  nursery?: Nursery;
}

export interface ContainerNurseriesInit {
  readonly outlived: boolean;
  /** That containers are to run on. */
  readonly runtime?: RuntimeName | undefined;
  /** Another one each time. */
  readonly placeOfSpare: () => SparePlace;
}

export class ContainerNurseries implements AsyncDisposable {
  readonly #outlived: boolean;
  readonly #runtime: RuntimeName | undefined;
  readonly #placeOfSpare: () => SparePlace;
  #latest: Latest | undefined;
  #starts = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ outlived, runtime, placeOfSpare }: ContainerNurseriesInit) {
    this.#outlived = outlived;
    this.#runtime = runtime;
    this.#placeOfSpare = placeOfSpare;
  }

  /** Whether there can be any. */
  readonly arePossible = Nursery.isPossible();

  /**
   * What comes out of one has what this process has now: its groups, limits, priority and CPUs.
   * @throws ProcessError, VirtError, the signal's reason
   */
  async start(spec: NurserySpec, signal: AbortSignal | undefined, announce?: Announce): Promise<NurseryChild> {
    this.#starts++;
    clearTimeout(this.#timer);
    for (;;) {
      const nursery = await this.#get(spec.program);
      // Another start may have found out by now that this process has changed. One that has ended says why.
      if (nursery.isLeaving && !nursery.hasEnded) continue;
      try {
        return await nursery.start(spec, signal, announce);
      } catch (error) {
        // Killed by somebody: that is no reason not to start.
        if (!nursery.wasLost) throw error;
      }
    }
  }

  async #get(program: string | undefined): Promise<Nursery> {
    const context = `${inheritedContext()} ${program === undefined ? '' : stampOf(program)}`;
    const isUsable = this.#latest?.context === context && this.#latest.nursery?.hasEnded !== true;
    const latest = isUsable && this.#latest !== undefined ? this.#latest : this.#replace(context, program);
    try {
      latest.nursery = await latest.opened;
      return latest.nursery;
    } catch (error) {
      if (this.#latest === latest) this.#latest = undefined;
      throw error;
    }
  }

  /** Nobody starts anything at this moment: the next start shall find its child made, where one is to be expected. */
  rest(): void {
    if (!this.#outlived && this.#starts < 2) return;
    clearTimeout(this.#timer);
    // Whoever waits for what was started is told first.
    this.#timer = setTimeout(() => void this.#keepSpare(this.#latest?.nursery), REST_MS);
    this.#timer.unref();
  }

  async #keepSpare(nursery: Nursery | undefined): Promise<void> {
    try {
      await nursery?.keepSpare(this.#placeOfSpare);
    } catch (error) {
      // A start takes longer without one.
      log.warn('keepSpare', () => (error instanceof Error ? error.message : String(error)));
    }
  }

  /** Makes it before it is needed. */
  warm(): void {
    if (!this.arePossible || this.#latest !== undefined) return;
    // Whoever needs it is told.
    this.#get(lookUpRuntime(this.#runtime)).catch(() => {});
  }

  #replace(context: string, program: string | undefined): Latest {
    this.#latest?.opened.then(
      (nursery) => nursery.retire(),
      // It was never there.
      () => {},
    );
    const person = readPerson();
    const around = planNursery({ unprivileged: person !== undefined, outlived: this.#outlived });
    const introduce =
      person === undefined
        ? {}
        : { introduce: async (child: ChildHandle) => await letBeRoot(child, person, undefined) };
    // Users load none.
    const programs = person === undefined ? settingsPrograms() : [];
    const opened = Nursery.open({ around, outlived: this.#outlived, program, programs, ...introduce });
    // Each start that waits for it is told.
    opened.catch(() => {});
    this.#latest = { context, opened };
    return this.#latest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    const latest = this.#latest;
    this.#latest = undefined;
    // One that could not be made needs no end.
    const nursery = await latest?.opened.catch(() => undefined);
    await nursery?.[Symbol.asyncDispose]();
  }
}

/** Changes with the program. */
function stampOf(path: string): string {
  const { dev, ino, size, mtimeMs } = statSync(path);
  return [path, dev, ino, size, mtimeMs].join(' ');
}
