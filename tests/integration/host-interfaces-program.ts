/** Prints the interfaces and network devices of the namespaces that it runs in, as JSON: name to description. */
import { HostInterfaces } from '../../src/driver/interface/host-interfaces.ts';
import { NodeDevices } from '../../src/driver/nodedev/node-devices.ts';

const interfaces = new HostInterfaces();
using devices = await NodeDevices.open();

async function described(
  names: readonly { readonly name: string }[],
  describe: (name: string) => Promise<string>,
): Promise<Record<string, string>> {
  const entries = await Promise.all(names.map(async ({ name }) => [name, await describe(name)] as const));
  return Object.fromEntries(entries);
}

const found = {
  interfaces: await described(await interfaces.list(), async (name) => await interfaces.xmlDesc(name)),
  devices: await described(await devices.list({ capabilities: ['net'] }), async (name) => await devices.xmlDesc(name)),
};
process.stdout.write(JSON.stringify(found));
