"""The catalogue with its stock, and the orders with their stories."""

from alembic import op

revision = "order_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE product (
            sku         text        COLLATE "C" PRIMARY KEY,
            name        text        NOT NULL,
            description text        NOT NULL,
            price_minor bigint      NOT NULL CHECK (price_minor > 0),
            currency    text        NOT NULL,
            version     int         NOT NULL,
            created_at  timestamptz NOT NULL,
            updated_at  timestamptz NOT NULL
        )
    """)
    # Apart from the product and half empty: its rows change with every order, and stay on their page when they do.
    op.execute("""
        CREATE TABLE stock (
            sku       text   COLLATE "C" PRIMARY KEY REFERENCES product (sku),
            available bigint NOT NULL CHECK (available >= 0),
            reserved  bigint NOT NULL CHECK (reserved >= 0),
            sold      bigint NOT NULL CHECK (sold >= 0)
        ) WITH (fillfactor = 50)
    """)
    # The journal and the timeline have no foreign keys: each is written in the one statement that also writes what it
    # refers to, and the check would lock a much wanted product's row for every order.
    op.execute("""
        CREATE TABLE stock_movement (
            id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            sku      text        COLLATE "C" NOT NULL,
            kind     text        NOT NULL CHECK (kind IN ('initial', 'delta', 'reserve', 'release', 'sell', 'return')),
            quantity bigint      NOT NULL CHECK (kind = 'delta' OR quantity > 0 OR kind = 'initial' AND quantity = 0),
            order_id uuid        CHECK ((order_id IS NULL) = (kind IN ('initial', 'delta'))),
            at       timestamptz NOT NULL
        )
    """)
    op.execute("CREATE SEQUENCE order_serial")
    # An order's lines never change and nobody asks for them without the order, so they are kept inside it.
    op.execute("""
        CREATE TABLE orders (
            id                 uuid        PRIMARY KEY,
            serial             bigint      NOT NULL UNIQUE,
            customer_id        uuid        NOT NULL,
            status             text        NOT NULL
                               CHECK (status IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled')),
            lines              jsonb       NOT NULL,
            total_minor        bigint      NOT NULL CHECK (total_minor > 0),
            refunded_minor     bigint      NOT NULL CHECK (refunded_minor BETWEEN 0 AND total_minor),
            currency           text        NOT NULL,
            payment_id         uuid        NOT NULL,
            payment_status     text        NOT NULL,
            payment_code       text,
            payment_action_url text,
            shipping_address   jsonb       NOT NULL,
            version            int         NOT NULL,
            event_version      int         NOT NULL,
            created_at         timestamptz NOT NULL,
            updated_at         timestamptz NOT NULL,
            expires_at         timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX orders_customer ON orders (customer_id, serial)")
    op.execute("CREATE INDEX orders_status ON orders (status, serial)")
    op.execute("CREATE INDEX orders_deadline ON orders (expires_at) WHERE status = 'pending'")
    op.execute("""
        CREATE TABLE order_timeline (
            id       bigint      GENERATED ALWAYS AS IDENTITY,
            order_id uuid        NOT NULL,
            at       timestamptz NOT NULL,
            event    text        NOT NULL,
            cause    text        NOT NULL,
            detail   jsonb       NOT NULL,
            PRIMARY KEY (order_id, id)
        )
    """)
    # What has been written into the books stays as it was written.
    op.execute("REVOKE UPDATE, DELETE ON stock_movement, order_timeline FROM order_service")
