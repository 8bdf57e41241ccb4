// Stands in for Coop's table of banks.
import { type HashBank } from './dbTypes.js';

export class HashBankService {
  private readonly banks: HashBank[] = [];

  constructor(_: unknown) {}

  async create(input: Omit<HashBank, 'id' | 'created_at' | 'updated_at'>) {
    const bank = { ...input, id: this.banks.length + 1, created_at: new Date(), updated_at: new Date() };
    this.banks.push(bank);
    return bank;
  }

  async findById(id: number, orgId: string) {
    return this.banks.find((b) => b.id === id && b.org_id === orgId) ?? null;
  }

  async findByName(name: string, orgId: string) {
    return this.banks.find((b) => b.name === name && b.org_id === orgId) ?? null;
  }

  async findAllByOrgId(orgId: string) {
    return this.banks.filter((b) => b.org_id === orgId);
  }

  async update(id: number, orgId: string, input: Partial<HashBank>) {
    const bank = (await this.findById(id, orgId))!;
    return Object.assign(bank, JSON.parse(JSON.stringify(input)));
  }

  async delete(id: number, orgId: string) {
    this.banks.splice(this.banks.findIndex((b) => b.id === id && b.org_id === orgId), 1);
  }
}
