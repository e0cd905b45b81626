/** Who this process is to the containers that it starts, and how a namespace around one gets that user's ids. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { findIdMappers, readSubordinateIds } from '../../../host/user-namespaces.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { GATE_FD } from '../../../process/nursery-words.ts';
import { runCommand } from '../../../process/run-command.ts';
import { mapLines, type Person, planPerson } from '../plan/person.ts';

const log = new LogSource('lxc.lxc_process');

/** Undefined: root of the host, or of the namespace that all of it is in. */
export function readPerson(): Person | undefined {
  const uid = process.geteuid?.() ?? 0;
  if (uid === 0) return undefined;
  const name = nameOfUser();
  return planPerson({
    uid,
    gid: process.getegid?.() ?? uid,
    name,
    ...readSubordinateIds({ uid, name }),
    mappers: findIdMappers(),
  });
}

/** The command has made its user namespace: gives it its ids, and lets it go on as root of it. @throws VirtError with the mapper's words */
export async function letBeRoot(child: ChildHandle, person: Person, signal: AbortSignal | undefined): Promise<void> {
  const gate = child.duplex(GATE_FD);
  await once(gate, 'data', { signal });
  await writeIds(child.pid, person, signal);
  gate.write('go\n');
}

async function writeIds(pid: number, { ids, mappers }: Person, signal: AbortSignal | undefined): Promise<void> {
  log.debug('writeIds', () => `pid=${pid} uids ${mapLines(ids.uids).join(' ')} gids ${mapLines(ids.gids).join(' ')}`);
  if (mappers === undefined) {
    // Without root's help a user may write its own id only, and its groups only when they are given up for good.
    writeFileSync(`/proc/${pid}/setgroups`, 'deny');
    for (const kind of ['uid', 'gid'] as const) {
      writeFileSync(
        `/proc/${pid}/${kind}_map`,
        mapLines(ids[`${kind}s`])
          .map((words) => words.join(' '))
          .join('\n'),
      );
    }
    return;
  }
  await Promise.all(
    (['uid', 'gid'] as const).map(async (kind) => {
      const args = [String(pid), ...mapLines(ids[`${kind}s`]).flat()];
      const { status, stderr } = await runCommand(mappers[kind], args, { signal });
      if (status === 0) return;
      throw new VirtError(`new${kind}map gives this user no ids: ${stderr.trim()}; see /etc/sub${kind}`, {
        code: ErrorCode.SYSTEM_ERROR,
        domain: ErrorDomain.LXC,
      });
    }),
  );
}

/** newuidmap knows users by name; one without is nobody's to give ids to. */
function nameOfUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}
