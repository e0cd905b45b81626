/** Opens a log from what the caller and the environment say. */
import { Log } from './log.ts';
import { type LogTexts, logTextsOf, readLogSettings } from './settings.ts';

/**
 * The caller's texts are stronger than the environment's, and those than `config`'s.
 * @returns undefined when nobody asked for a log
 * @throws LogSettingsError, or Error for an output that cannot be opened
 */
export async function openLog(
  texts: LogTexts,
  version: string,
  { env = process.env, config = {} }: { env?: NodeJS.ProcessEnv; config?: LogTexts } = {},
): Promise<Log | undefined> {
  const settings = readLogSettings([texts, logTextsOf(env), config]);
  return settings.outputs.length === 0 ? undefined : await Log.open({ settings, version });
}
