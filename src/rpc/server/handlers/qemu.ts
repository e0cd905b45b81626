/** The QEMU program: monitor and agent as text. */
import type { QEMU_PROCEDURES } from '../../../protocol/qemu.ts';
import { MonitorFlag } from '../../flags.ts';
import { checkFlags, group, type Handlers, uuidOf } from '../handler.ts';

export const qemuHandlers: Handlers<typeof QEMU_PROCEDURES> = {
  domainMonitorCommand: async (session, { dom, cmd, flags }) => {
    checkFlags(flags, MonitorFlag.HMP, 'virDomainQemuMonitorCommand');
    const hmp = (flags & MonitorFlag.HMP) !== 0;
    return { result: await group(session, 'interaction').monitorText(uuidOf(dom), cmd, { hmp }) };
  },
  domainAgentCommand: async (session, { dom, cmd, timeout, flags }) => {
    checkFlags(flags, 0, 'virDomainQemuAgentCommand');
    return { result: await group(session, 'interaction').agentText(uuidOf(dom), cmd, { timeoutS: timeout }) };
  },
};
