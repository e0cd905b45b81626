/**
 * Administrators' hook scripts, called as libvirt calls its own: `DRIVER` and then `DRIVER.d/*` of each folder, with four arguments and
 * the object's XML on standard input. Which operations there are is their callers' knowledge.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { LogSource } from '../core/log-source.ts';
import { lookUpProgram } from './find-program.ts';
import { runCommand } from './run-command.ts';

const log = new LogSource('util.hook');

export interface HookCall {
  readonly driver: 'daemon' | 'qemu' | 'lxc' | 'network';
  /** What it is about; default `-`. */
  readonly object?: string;
  readonly operation: string;
  readonly subOperation?: string;
  readonly extra?: string;
  /** For its standard input. */
  readonly xml?: string;
}

export class HookScripts {
  readonly #dirs: readonly string[];

  /** `dirs`: where they are looked for at each call, in this order. None: there are no hooks. */
  constructor(dirs: readonly string[] = []) {
    this.#dirs = dirs;
  }

  /** Whether there is anything to call: what goes to the scripts need not be made for nobody. */
  has(driver: HookCall['driver']): boolean {
    return this.#scripts(driver).length > 0;
  }

  /**
   * Runs all scripts, also those behind one that fails.
   * @returns what the last one that printed anything has printed
   * @throws VirtError HOOK_SCRIPT_FAILED with the first failure's words
   */
  async run(call: HookCall, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<string> {
    const { driver, object = '-', operation, subOperation = '-', extra = '-' } = call;
    const args = [object, operation, subOperation, extra];
    let failure: VirtError | undefined;
    let input = call.xml ?? '';
    let output = '';
    for (const script of this.#scripts(driver)) {
      const result = await runCommand(script, args, { input, env: environment(), signal });
      log.info('run', () => `${script} ${args.join(' ')}: ${result.status ?? result.error?.message ?? ''}`);
      if (result.status !== 0) failure ??= failed(script, args, result);
      else if (result.stdout.trim() !== '') {
        // Each is a filter for what the one before has printed.
        output = result.stdout;
        input = output;
      }
    }
    if (failure !== undefined) throw failure;
    return output;
  }

  /** For what cannot be refused any more. */
  async tell(call: HookCall): Promise<void> {
    try {
      await this.run(call);
    } catch (error) {
      log.warn('tell', () => (error instanceof Error ? error.message : String(error)));
    }
  }

  #scripts(driver: HookCall['driver']): string[] {
    return this.#dirs.flatMap((dir) => {
      const more = listNames(join(dir, `${driver}.d`)).map((name) => join(dir, `${driver}.d`, name));
      return [join(dir, driver), ...more].filter((path) => lookUpProgram(path) !== undefined);
    });
  }
}

function environment(): NodeJS.ProcessEnv {
  const { PATH, HOME } = process.env;
  return { LC_ALL: 'C', PATH: PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', ...(HOME === undefined ? {} : { HOME }) };
}

function failed(
  script: string,
  args: readonly string[],
  { status, stderr, error }: Awaited<ReturnType<typeof runCommand>>,
): VirtError {
  const how = status === undefined ? (error?.message ?? 'it was ended by a signal') : `it ended with status ${status}`;
  const words = stderr.trim();
  return new VirtError(
    `Hook script execution failed: ${[script, ...args].join(' ')}: ${how}${words === '' ? '' : `: ${words}`}`,
    { code: ErrorCode.HOOK_SCRIPT_FAILED, domain: ErrorDomain.HOOK },
  );
}

/** In alphabetical order. */
function listNames(dir: string): string[] {
  try {
    return readdirSync(dir).toSorted();
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return [];
    throw error;
  }
}
