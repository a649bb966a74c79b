"""What a query of `sql` may be made of: Spark's classes by their short names, and nothing that is not named here.

Every class of Catalyst that only computes values from values. What reaches outside (`reflect`, readers of files, Avro,
Protobuf and XML, functions of users, Python) or tells of the machine and its users (`input_file_name`,
`current_user`, `version`) is absent, and so is what a later Spark may add.
"""

from __future__ import annotations

EXPRESSIONS_PACKAGE = "org.apache.spark.sql.catalyst.expressions."
ANALYSIS_PACKAGE = "org.apache.spark.sql.catalyst.analysis."
PLANS_PACKAGE = "org.apache.spark.sql.catalyst.plans.logical."


def _words(text: str) -> frozenset[str]:
    """The words of `text` but for its comments."""
    return frozenset(word for line in text.splitlines() for word in line.partition("#")[0].split())


FUNCTIONS = _words("""
    # Aggregates
    AnyValue ApproximatePercentile Average BitAndAgg BitOrAgg BitXorAgg BitmapAndAgg BitmapConstructAgg BitmapOrAgg
    BoolAnd BoolOr CollectList CollectSet Corr Count CountIf CountMinSketchAggExpressionBuilder CovPopulation
    CovSample First Grouping GroupingID HistogramNumeric HllSketchAgg HllUnionAgg HyperLogLogPlusPlus Kurtosis Last
    ListAgg Max MaxByBuilder Median Min MinByBuilder ModeBuilder Percentile PercentileContBuilder
    PercentileDiscBuilder RegrAvgX RegrAvgY RegrCount RegrIntercept RegrR2 RegrSXX RegrSXY RegrSYY RegrSlope
    Skewness StddevPop StddevSamp Sum TryAverageExpressionBuilder TrySumExpressionBuilder VariancePop VarianceSamp
    # Arrays
    ArrayAggregate ArrayAppend ArrayCompact ArrayContains ArrayDistinct ArrayExcept ArrayExists ArrayFilter
    ArrayForAll ArrayInsert ArrayIntersect ArrayJoin ArrayMax ArrayMin ArrayPosition ArrayPrepend ArrayRemove
    ArrayRepeat ArraySize ArraySort ArrayTransform ArrayUnion ArraysOverlap ArraysZip Concat CreateArray ElementAt
    Flatten Get MapFilter MapZipWith Reverse Sequence Shuffle Size Slice SortArray TransformKeys TransformValues
    TryElementAt ZipWith
    # Conditions, comparisons, casts
    And Between CaseWhen Cast Coalesce EqualNull EqualNullSafe EqualTo GreaterThan GreaterThanOrEqual ILike If In
    IsNaN IsNotNull IsNull LessThan LessThanOrEqual Like NaNvl Not NullIf NullIfZero Nvl Nvl2 Or RLike ZeroIfNull
    # Hashes, ciphers and others
    AesDecrypt AesEncrypt AssertTrue BitmapBitPosition BitmapBucketNumber BitmapCount Crc32 HllSketchEstimate
    HllUnion Hmac Md5 MonotonicallyIncreasingID Murmur3Hash RaiseErrorExpressionBuilder Sha1 Sha2 SparkPartitionID
    TryAesDecrypt TypeOf Uuid XxHash64
    # JSON and CSV, of values
    CsvToStructs GetJsonObject JsonObjectKeys JsonToStructs JsonTuple LengthOfJsonArray SchemaOfCsv SchemaOfJson
    StructsToCsv StructsToJson
    # Maps and structs
    CreateMap CreateNamedStruct MapConcat MapContainsKey MapEntries MapFromArrays MapFromEntries MapKeys MapValues
    StringToMap
    # Numbers
    Abs Acos Acosh Add Asin Asinh Atan Atan2 Atanh BRound Bin BitwiseAnd BitwiseCount BitwiseGet BitwiseNot
    BitwiseOr BitwiseXor Cbrt CeilExpressionBuilder Conv Cos Cosh Cot Csc Divide EulerNumber Exp Expm1 Factorial
    FloorExpressionBuilder Greatest Hex Hypot IntegralDivide Least Log Log10 Log1p Log2 Logarithm Multiply Pi Pmod
    Pow Rand Randn Remainder Rint Round Sec ShiftLeft ShiftRight ShiftRightUnsigned Signum Sin Sinh Sqrt Subtract
    Tan Tanh ToDegrees ToRadians TryAdd TryDivide TryMod TryMultiply TrySubtract UnaryMinus UnaryPositive Unhex
    Uniform WidthBucket
    # Rows from values
    ExplodeExpressionBuilder ExplodeGeneratorBuilder ExplodeOuterGeneratorBuilder InlineExpressionBuilder
    InlineGeneratorBuilder InlineOuterGeneratorBuilder PosExplodeExpressionBuilder PosExplodeGeneratorBuilder
    PosExplodeOuterGeneratorBuilder Stack VariantExplodeGeneratorBuilder
    VariantExplodeOuterGeneratorBuilder
    # Texts
    Ascii Base32 Base64 BitLength Chr CollateExpressionBuilder Collation ConcatWs ContainsExpressionBuilder Decode
    Elt Encode EndsWithExpressionBuilder FindInSet FormatNumber FormatString InitCap IsValidUTF8 JaroWinkler
    LPadExpressionBuilder Left Length Levenshtein Lower Luhncheck MakeValidUTF8 MaskExpressionBuilder OctetLength
    Overlay ParseUrl Quote RPadExpressionBuilder RandStr RegExpCount RegExpExtract RegExpExtractAll RegExpInStr
    RegExpReplace RegExpSubStr Right SoundEx SplitPart StartsWithExpressionBuilder StringInstrExpressionBuilder
    StringLocate StringRepeat StringReplace StringSpace StringSplit StringTranslate StringTrim StringTrimBoth
    StringTrimLeft StringTrimRight Substring SubstringIndex ToBinary ToCharacterBuilder ToNumber TryParseUrl
    TryToBinary TryToNumber TryUrlDecode TryValidateUTF8 UnBase32 UnBase64 Upper UrlDecode UrlEncode ValidateUTF8
    # Times
    AddMonths ConvertTimezone CurDateExpressionBuilder CurrentDate CurrentTime CurrentTimeZone
    CurrentTimestampExpressionBuilder DateAdd DateDiff DateFormatClass DateFromUnixDate DatePartExpressionBuilder
    DateSub DayName DayOfMonth DayOfWeek DayOfYear Extract FromUTCTimestamp FromUnixTime HourExpressionBuilder
    LastDay LocalTimestampExpressionBuilder MakeDTInterval MakeDate MakeInterval MakeTimestampExpressionBuilder
    MakeTimestampLTZExpressionBuilder MakeTimestampNTZExpressionBuilder MakeYMInterval MicrosToTimestamp
    MillisToTimestamp MinuteExpressionBuilder Month MonthName MonthsBetween NanosToTimestamp NextDay
    NowExpressionBuilder ParseToDate ParseToTimestamp ParseToTimestampLTZExpressionBuilder
    ParseToTimestampNTZExpressionBuilder Quarter SecondExpressionBuilder SecondsToTimestamp SessionWindow TimeWindow
    ToTime ToUTCTimestamp ToUnixTimestamp TruncDate TruncTimestamp TryMakeInterval TryMakeTimestampExpressionBuilder
    TryMakeTimestampLTZExpressionBuilder TryMakeTimestampNTZExpressionBuilder TryToDateExpressionBuilder
    TryToTimeExpressionBuilder TryToTimestampExpressionBuilder UnixDate UnixMicros UnixMillis UnixNanos UnixSeconds
    UnixTimestamp WeekDay WeekOfYear WindowTime Year
    # Variants
    IsValidVariant IsVariantNull ParseJsonExpressionBuilder SchemaOfVariant SchemaOfVariantAgg ToVariantObject
    TryParseJsonExpressionBuilder TryVariantGetExpressionBuilder VariantGetExpressionBuilder
    # Windows
    CumeDist DenseRank Lag Lead NTile NthValue PercentRank Rank RowNumber
""")
"""Expressions behind the names of functions, or the builders that Spark lists for them."""

RESOLVED = _words("""
    # What the analyzer makes of functions that have a builder
    BinaryPad Ceil Contains CountMinSketchAgg CurrentTimestamp EndsWith Explode Floor Hour Inline LocalTimestamp
    MakeTimestamp MakeTimestampFromDateTime MakeTimestampNTZ Mask MaxBy MinBy Minute Mode Now ParseJson PercentileCont
    PercentileDisc PosExplode RaiseError RoundCeil RoundFloor Second StartsWith StringInstr StringInstrWithOccurrence
    StringLPad StringRPad ToCharacter TryEval TryMakeTimestamp TryMakeTimestampFromDateTime VariantExplode VariantGet
    # Arithmetic on times and intervals
    DateAddInterval DateAddYMInterval DatetimeSub DivideDTInterval DivideInterval DivideYMInterval
    ExtractANSIIntervalDays ExtractANSIIntervalHours ExtractANSIIntervalMinutes ExtractANSIIntervalMonths
    ExtractANSIIntervalSeconds
    ExtractANSIIntervalYears ExtractIntervalDays ExtractIntervalHours ExtractIntervalMinutes ExtractIntervalMonths
    ExtractIntervalSeconds ExtractIntervalYears MultiplyDTInterval MultiplyInterval MultiplyYMInterval
    PreciseTimestampConversion SecondWithFraction SubtractDates SubtractTimestamps TimeAdd TimestampAdd
    TimestampAddInterval TimestampAddYMInterval TimestampDiff YearOfWeek
    # Syntax
    AggregateExpression Alias AttributeReference BinaryPredicate Collate Cube CurrentRow$ Exists Extract GetArrayItem
    GetArrayStructFields GetMapValue GetStructField GroupingSets InSubquery KnownNotNull KnownNullable LambdaFunction
    LateralColumnAliasReference LateralSubquery LikeAll LikeAny ListQuery Literal MultiAlias NamedArgumentExpression
    NamedLambdaVariable NotLikeAll NotLikeAny OuterReference PipeExpression PivotFirst ResolvedCollation Rollup
    ScalarSubquery SortOrder SpecifiedWindowFrame TempResolvedColumn UnboundedFollowing$ UnboundedPreceding$ UnpivotExpr
    UnspecifiedFrame$ UnresolvedCollation UnresolvedNamedLambdaVariable UnresolvedWindowExpression WindowExpression
    WindowSpecDefinition WindowSpecReference
    # Syntax before names are looked up
    UnresolvedAlias UnresolvedAttribute UnresolvedExtractValue UnresolvedFunction UnresolvedGenerator UnresolvedOrdinal
    UnresolvedRegex UnresolvedStar UnresolvedStarExcept UnresolvedStarExceptOrReplace
""")
"""Other expressions of a query."""

PLANS = _words("""
    Aggregate CTERelationDef CTERelationRef Distinct Except Expand Filter Generate GlobalLimit Intersect Join
    LateralJoin LimitAll LocalLimit LocalRelation Offset OneRowRelation PipeOperator Pivot Project Range
    RebalancePartitions Repartition RepartitionByExpression ResolvedHint Sample Sort Subquery SubqueryAlias Union
    UnresolvedHint Unpivot
    Window WithCTE WithWindowDefinition
    ResolvedInlineTable UnresolvedHaving UnresolvedInlineTable UnresolvedSubqueryColumnAliases
    UnresolvedTVFAliases UnresolvedTableValuedFunction UnresolvedWith
""")
"""Parts of a query that read no table; `guard` judges those that do."""
