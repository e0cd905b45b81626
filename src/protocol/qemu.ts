/** The QEMU program: monitor and agent, past everything that the REMOTE program knows. */
import { hyper, int, optional, uint } from '../xdr/codec.ts';
import { call, event, none } from './procedure.ts';
import { domain, optionalText, text } from './structs.ts';

const WRITES = { writes: true };

export const QEMU_PROCEDURES = {
  domainMonitorCommand: call(
    1,
    'virDomainQemuMonitorCommand',
    { dom: domain, cmd: text, flags: uint },
    { result: text },
    WRITES,
  ),
  domainAttach: call(2, 'virDomainQemuAttach', { pidValue: uint, flags: uint }, { dom: domain }, WRITES),
  domainAgentCommand: call(
    3,
    'virDomainQemuAgentCommand',
    { dom: domain, cmd: text, timeout: int, flags: uint },
    { result: optionalText },
    WRITES,
  ),
  connectDomainMonitorEventRegister: call(
    4,
    'virConnectDomainQemuMonitorEventRegister',
    { dom: optional(domain), event: optionalText, flags: uint },
    { callbackID: int },
    WRITES,
  ),
  connectDomainMonitorEventDeregister: call(
    5,
    'virConnectDomainQemuMonitorEventDeregister',
    { callbackID: int },
    none,
    WRITES,
  ),
  domainMonitorEvent: event(6, {
    callbackID: int,
    dom: domain,
    event: text,
    seconds: hyper,
    micros: uint,
    details: optionalText,
  }),
  domainMonitorCommandWithFiles: call(
    7,
    'virDomainQemuMonitorCommandWithFiles',
    { dom: domain, cmd: text, flags: uint },
    { result: text },
    WRITES,
  ),
} as const;
