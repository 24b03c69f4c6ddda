"""The currencies something can be priced in. Everything else that has a currency takes it over from a price."""

from __future__ import annotations

from tradewind.chassis.errors import FieldError, Invalid

# ISO 4217, list one, without metals, funds and units of account: https://www.iso.org/iso-4217-currency-codes.html
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB
    RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905 - a table of codes
)


def check_currency(code: str) -> None:
    """Refuse what is no currency.

    Raises:
        Invalid: 422 at `/price/currency`.
    """
    if code not in CURRENCIES:
        detail = f"{code} is no ISO 4217 code."
        raise Invalid("invalid", detail, errors=[FieldError("/price/currency", "currency", detail)])
