/** What the groups of operations of one connection's containers work with. The driver makes it; a group keeps what it needs. */
import type { ContainerStarter, ContainerStarterInit } from './container-starter.ts';

export interface LxcParts extends ContainerStarterInit {
  readonly starter: ContainerStarter;
}
